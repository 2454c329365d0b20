"""The data sets: what text and tokens they give, and what they say when they cannot."""

import ast
import hashlib
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from altgrad_text import PythonDocs, TextFiles, streams
from altgrad_text.prose import prose
from altgrad_text.python_docs import read_python_docs
from altgrad_text.streams import smallest_dtype, split, unigram_entropy
from altgrad_text.synthetic import walk
from altgrad_text.tokenizers import tokenizer
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from altgrad_core import ManifestError
from tests.patience import ends_soon

HEAVY = ("torch", "numpy", "tiktoken", "wandb", "tensorboard", "numba", "datasets", "pyarrow", "platformdirs")


def options(spec, directory, **values):
    """Options as a manifest in `directory` gives them."""
    return spec.model_validate_json(json.dumps(values), context={"directory": str(directory)})


def refusal(spec):
    with pytest.raises(ManifestError) as caught:
        spec.build()
    return str(caught.value)


@pytest.mark.parametrize("package", ["altgrad_text", "altgrad_nanogpt", "altgrad_trackers"])
def test_importing_a_plugin_loads_no_heavy_library(package):
    code = f"import sys, {package}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- python-docs ----


@pytest.fixture(scope="module")
def docs():
    return PythonDocs().build()


def test_python_docs_hold_at_least_two_megabytes(docs):
    assert docs.facts["bytes"] >= 2_000_000
    assert len(docs.train) + len(docs.validation) == docs.facts["bytes"] == docs.facts["tokens"]
    assert docs.vocabulary == 256
    assert docs.train.dtype == np.uint8


def test_python_docs_come_back_from_their_tokens_as_the_text_that_was_hashed(docs):
    raw = np.concatenate([docs.train, docs.validation]).tobytes()
    assert hashlib.sha256(raw).hexdigest() == docs.facts["sha256"]
    assert 'The "if" statement is used for conditional execution' in raw.decode()  # a topic of help()
    assert "Insert item x in list a, and keep it sorted assuming a is sorted." in raw.decode()  # bisect


def test_python_docs_are_the_same_with_another_hash_seed_and_without_docstrings_in_memory(docs):
    code = "from altgrad_text import PythonDocs; print(PythonDocs().build().facts['sha256'])"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "5", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == docs.facts["sha256"]


def test_python_docs_are_read_in_a_moment():
    with ends_soon():
        read_python_docs()


def test_the_validation_split_of_python_docs_is_of_the_same_kind_as_the_rest(docs):
    assert abs(unigram_entropy(docs.validation) - docs.facts["unigram_entropy"]) < 0.1


def test_a_python_without_its_sources_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ManifestError) as caught:
        read_python_docs(tmp_path)
    assert str(caught.value) == (
        "data: this Python has only 0 characters of prose, expected 1000000 or more "
        f'(looked for .py files in {tmp_path}); use an ordinary Python, or your own text with use = "text-files"'
    )


SOURCE = '''# Two lines of comment
# are prose.

"""The module."""

# one line is not
NAME = """no docstring"""  # "nor this"


def f(x="# no comment"):
    r"""Does it.

        More.
    """
    return 'it is "quoted"'
'''


def test_prose_is_docstrings_and_block_comments_without_marks_and_indentation():
    assert list(prose(SOURCE)) == [
        "Two lines of comment\nare prose.",
        "The module.",
        "Does it.\n\nMore.",
    ]


@pytest.mark.parametrize("name", ["bisect", "heapq", "textwrap", "statistics", "queue", "shutil"])
def test_prose_finds_the_docstrings_that_the_parser_of_python_finds(name):
    source = Path(importlib.import_module(name).__file__).read_text("utf-8")
    expected = set(_parsed_docstrings(source))
    assert len(expected) >= 5
    assert expected <= set(prose(source))


def _parsed_docstrings(source):
    """Docstrings in triple quotes, without escapes: those the prose holds exactly as the parser gives them."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            written = ast.get_source_segment(source, node.body[0])
            if written.startswith(('"""', "'''")) and "\\" not in written:
                yield ast.get_docstring(node)


# ---- text-files ----


def test_text_files_are_joined_in_the_order_of_the_manifest(tmp_path):
    for name, text in {"b.txt": "bee", "a.txt": "ay", "deep/c.md": "sea"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    data = options(TextFiles, tmp_path, paths=["deep/*.md", "*.txt", "b.txt"]).build()
    assert np.concatenate([data.train, data.validation]).tobytes() == b"sea\nay\nbee"
    assert data.facts["source"] == f"{tmp_path}/deep/c.md, {tmp_path}/a.txt, {tmp_path}/b.txt"
    assert data.facts["sha256"] == hashlib.sha256(b"sea\nay\nbee").hexdigest()


def test_folders_are_taken_by_their_names_even_where_they_look_like_patterns(tmp_path):
    (tmp_path / "[old]").mkdir()
    (tmp_path / "[old]" / "a.txt").write_text("hello")
    assert list(options(TextFiles, tmp_path / "[old]", paths=["*.txt"]).corpus().read()) == ["hello"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffhé".encode())
    assert list(options(TextFiles, tmp_path, paths=["a.txt"]).corpus().read()) == ["hé"]


def test_the_last_part_of_the_text_is_held_out(tmp_path):
    (tmp_path / "a.txt").write_text("0123456789")
    data = options(TextFiles, tmp_path, paths=["a.txt"], validation_fraction=0.3).build()
    assert (data.train.tobytes(), data.validation.tobytes()) == (b"0123456", b"789")


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("hello")
    assert refusal(options(TextFiles, tmp_path, paths=["a.txt", "x/*.txt"])) == (
        f'data.paths[1]: no file matches "x/*.txt" (looked in {tmp_path}); paths are relative to the manifest, and '
        '"**/*.txt" searches all folders below'
    )


def test_a_directory_is_refused(tmp_path):
    (tmp_path / "x").mkdir()
    assert refusal(options(TextFiles, tmp_path, paths=["x"])) == (
        f'data.paths[0]: "{tmp_path}/x" is a directory; name its files, for example "{tmp_path}/x/**/*.txt"'
    )


CONVERT = "convert it to UTF-8, for example with: iconv -f LATIN1 -t UTF-8"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty; remove it from the list or put text in it"),
        (b"ab\0c", "is not UTF-8 text (a zero byte at 2); leave it out, or give its encoding to iconv -t UTF-8"),
        ("ab".encode("utf-16"), f"is not UTF-8 text (a zero byte at 3); {CONVERT.replace('LATIN1', 'UTF-16')}"),
        ("né".encode("latin-1"), f"is not UTF-8 text (byte 0xe9 at 1); {CONVERT}"),
    ],
)
def test_a_file_that_is_no_text_is_refused_by_name(tmp_path, content, problem):
    (tmp_path / "a.txt").write_bytes(content)
    assert refusal(options(TextFiles, tmp_path, paths=["a.txt"])) == f"data.paths[0]: {tmp_path}/a.txt {problem}"


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("hello")

    def deny(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)
    assert refusal(options(TextFiles, tmp_path, paths=["a.txt"])) == (
        f"data.paths[0]: cannot read {tmp_path}/a.txt: Permission denied; check its permissions"
    )


def test_an_impossible_pattern_is_refused(tmp_path):
    if sys.version_info >= (3, 13):
        pytest.skip("since Python 3.13 a** is a pattern")
    assert refusal(options(TextFiles, tmp_path, paths=["a**"])) == (
        "data.paths[0]: \"a**\" is not a valid pattern: Invalid pattern: '**' can only be an entire path component; "
        'try one such as "**/*.txt"'
    )


def test_a_text_too_short_for_two_splits_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    assert refusal(options(TextFiles, tmp_path, paths=["a.txt"])) == (
        "data.validation_fraction: holding out 0.1 of 1 tokens leaves none to train on; give more text or a smaller "
        "fraction"
    )


def test_a_list_without_paths_is_refused_with_the_manifest(tmp_path):
    with pytest.raises(ValidationError, match="at least 1 item"):
        options(TextFiles, tmp_path, paths=[])


# ---- tokens ----


@given(st.text())
def test_every_text_comes_back_from_its_byte_tokens(text):
    chosen = tokenizer("bytes")
    tokens = chosen.tokens(text)
    assert tokens.tobytes() == text.encode()
    assert tokens.tolist() == chosen.encoding.encode_ordinary(text)
    assert chosen.encoding.decode(tokens.tolist()) == text


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)],
)
def test_tokens_take_the_smallest_integers_that_hold_them(vocabulary, expected):
    assert smallest_dtype(vocabulary) == expected


def test_the_unigram_entropy_of_two_tokens_in_equal_parts_is_ln_2():
    assert unigram_entropy(np.array([3, 9, 9, 3])) == pytest.approx(math.log(2))
    assert unigram_entropy(np.array([7, 7])) == 0


def test_the_entropy_of_many_tokens_is_that_of_all_of_them_counted_together(monkeypatch):
    tokens = walk(300, tokens=10_000, seed=1)
    together = unigram_entropy(tokens)
    monkeypatch.setattr(streams, "AT_ONCE", 999)
    assert unigram_entropy(tokens) == together


def test_the_facts_measure_the_training_split_alone():
    data = split(np.array([0, 1, 5, 5]), vocabulary=6, validation_fraction=0.5)
    assert data.facts == {"tokens": 4, "unigram_entropy": pytest.approx(math.log(2))}


# ---- synthetic ----
