"""Rows of text from files, without a network, and from the hub, where there is none."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from altgrad_text import HuggingFace, cache
from pydantic import ValidationError

from altgrad_core import ManifestError
from tests.plugins.conftest import TEXTS

pytestmark = pytest.mark.usefixtures("no_cache")


def options(directory, **values):
    return HuggingFace.model_validate_json(json.dumps(values), context={"directory": str(directory)})


def text_of(data):
    return np.concatenate([data.train, data.validation]).tobytes().decode()


def refusal(directory, **values):
    with pytest.raises(ManifestError) as caught:
        options(directory, **values).build()
    return str(caught.value)


# ---- files ----


def test_rows_of_parquet_are_documents_with_a_separator_between(acts):
    data = options(acts, files=["acts.parquet"]).build()
    assert text_of(data) == "\n\n".join(TEXTS)
    assert data.facts["source"] == f"{acts}/acts.parquet"
    assert data.facts["sha256"] == hashlib.sha256("\n\n".join(TEXTS).encode()).hexdigest()
    assert data.facts["documents"] == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "".join(json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(TEXTS))),
        ("a.ndjson", "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)),
        ("a.json", json.dumps([{"n": n, "text": text} for n, text in enumerate(TEXTS)])),
    ],
)
def test_json_gives_the_same_documents_as_parquet(acts, name, content):
    (acts / name).write_text(content)
    assert text_of(options(acts, files=[name]).build()) == "\n\n".join(TEXTS)


def test_files_of_several_kinds_follow_each_other_and_a_text_file_is_one_document(acts):
    (acts / "b.txt").write_text("A line.\nAnother.\n")
    (acts / "c.jsonl").write_text('{"text": "Of JSON."}\n')
    data = options(acts, files=["*.txt", "acts.parquet", "c.jsonl"], separator="|").build()
    assert text_of(data) == "A line.\nAnother.\n|" + "|".join(TEXTS) + "|Of JSON."


def test_another_column_can_have_the_text(tmp_path):
    pq.write_table(pa.table({"body": ["one", "two"], "text": [1, 2]}), tmp_path / "a.parquet")
    assert text_of(options(tmp_path, files=["a.parquet"], text_column="body", separator=" ").build()) == "one two"


def test_files_of_their_own_are_held_out(acts):
    (acts / "b.txt").write_text("held out")
    data = options(acts, files=["acts.parquet"], validation_files=["b.txt"]).build()
    assert data.train.tobytes().decode() == "\n\n".join(TEXTS)
    assert data.validation.tobytes() == b"held out"
    assert data.facts["validation"] == {
        "source": f"{acts}/b.txt", "bytes": 8, "sha256": hashlib.sha256(b"held out").hexdigest(), "documents": 1,
    }  # fmt: skip
    assert data.facts["tokens"] == len(data.train) + 8


def test_folders_and_files_are_taken_by_their_names_even_where_they_look_like_patterns(acts):
    (acts / "[old]").mkdir()
    (acts / "acts.parquet").rename(acts / "[old]" / "a*b.parquet")
    assert text_of(options(acts / "[old]", files=["*.parquet"]).build()) == "\n\n".join(TEXTS)


def test_documents_are_encoded_one_by_one(tmp_path):
    ranks = {**{bytes([value]): value for value in range(256)}, b"ab": 256}
    (tmp_path / "my.tiktoken").write_text("".join(f"{_base64(token)} {rank}\n" for token, rank in ranks.items()))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"text": "ab"}\n')
    data = options(tmp_path, files=["a.jsonl"], separator="", tokenizer="my.tiktoken").build()
    assert [*data.train, *data.validation] == [97, 98, 256]


def _base64(token):
    import base64

    return base64.b64encode(token).decode()


def test_texts_are_what_is_trained_on(acts):
    held_out_by_fraction = options(acts, files=["acts.parquet"], validation_fraction=0.3)
    total = sum(map(len, TEXTS))
    assert "".join(held_out_by_fraction.texts()) == "".join(TEXTS)[: round(0.7 * total)]
    (acts / "b.txt").write_text("held out")
    assert list(options(acts, files=["acts.parquet"], validation_files=["b.txt"]).texts()) == TEXTS


# ---- the cache ----


def test_kept_tokens_are_found_by_the_contents_of_the_files_without_reading_rows(acts, monkeypatch):
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(acts / "cache"))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0.0)
    first = options(acts, files=["acts.parquet"]).build()
    (acts / "acts.parquet").rename(acts / "moved.parquet")
    monkeypatch.setitem(sys.modules, "datasets", None)
    again = options(acts, files=["moved.parquet"]).build()
    assert text_of(again) == text_of(first)
    assert {**again.facts, "source": ""} == {**first.facts, "source": ""}
    monkeypatch.undo()


@pytest.mark.parametrize("change", [{"separator": "|"}, {"text_column": "other"}, {"files": ["b.parquet"]}])
def test_kept_tokens_are_not_those_of_other_options(acts, monkeypatch, change):
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(acts / "cache"))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0.0)
    table = {"text": TEXTS, "other": ["x", "y", "z"]}
    pq.write_table(pa.table(table), acts / "a.parquet")
    pq.write_table(pa.table({"text": [*TEXTS, "more"]}), acts / "b.parquet")
    given = {"files": ["a.parquet"]}
    assert text_of(options(acts, **given).build()) != text_of(options(acts, **{**given, **change}).build())


# ---- what can be wrong with files ----


def test_a_column_that_is_not_there_is_refused_with_those_that_are(acts):
    (acts / "a.jsonl").write_text('{"title": "x", "body": "y"}\n')
    assert refusal(acts, files=["acts.parquet"], text_column="txt") == (
        f'data.text_column: {acts}/acts.parquet has no column "txt"; did you mean "text"? It has: text, labels'
    )
    assert refusal(acts, files=["a.jsonl"]) == (
        f'data.text_column: {acts}/a.jsonl has no column "text"; it has: title, body'
    )


@pytest.mark.parametrize(
    ("column", "values", "kind", "shown"),
    [("labels", [[1], [2]], "list", "[1]"), ("n", [7, 8], "int", "7"), ("t", [{"a": "x"}] * 2, "dict", '{"a": "x"}')],
)
def test_a_column_of_something_else_is_refused(tmp_path, column, values, kind, shown):
    pq.write_table(pa.table({column: values}), tmp_path / "a.parquet")
    assert refusal(tmp_path, files=["a.parquet"], text_column=column) == (
        f'data.text_column: the column "{column}" of {tmp_path}/a.parquet holds no text but {kind}, such as {shown} in '
        "row 1; name another column"
    )


@pytest.mark.parametrize(("value", "what"), [(None, "no"), ("", "empty"), (" \n", "empty")])
def test_a_row_without_text_is_refused_or_left_out(tmp_path, value, what):
    pq.write_table(pa.table({"text": pa.array(["one", value, "three"])}), tmp_path / "a.parquet")
    assert refusal(tmp_path, files=["a.parquet"]) == (
        f'data.files[0]: row 2 of {tmp_path}/a.parquet has {what} text in "text"; skip_empty = true leaves such rows out'
    )
    assert text_of(options(tmp_path, files=["a.parquet"], skip_empty=True, separator=" ").build()) == "one three"


def test_a_data_set_without_a_row_of_text_is_refused(tmp_path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "none.parquet")
    pq.write_table(pa.table({"text": pa.array([None, None], pa.string())}), tmp_path / "nulls.parquet")
    for files in (["none.parquet"], ["nulls.parquet"]):
        assert refusal(tmp_path, files=files, skip_empty=True) == (
            f"data.files: there is no row with text in {tmp_path}/{files[0]}"
        )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"", "{file} is empty; remove it from the list or put rows in it"),
        ("a.jsonl", b"", "{file} is empty; remove it from the list or put rows in it"),
        ("a.parquet", b"PAR1 and nothing more", "cannot read {file} as parquet (Parquet magic bytes not found in footer. "
         "Either the file is corrupted or this is not a parquet file.); is it damaged, or of another kind?"),
        ("a.txt", b"\xe9", "{file} is not UTF-8 text (byte 0xe9 at 0); convert it to UTF-8, for example with: iconv -f LATIN1 -t UTF-8"),
        ("a.csv", b"text\nx\n", "{file} has an unknown type; its name must end in one of "
         ".parquet, .json, .jsonl, .ndjson, .txt"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert refusal(tmp_path, files=[name]) == "data.files[0]: " + said.format(file=tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", b'{"text": "a"}\n{"text": '), ("a.json", b"[1, 2"), ("a.jsonl", b"\xff\xfe\0")],
)
def test_damaged_json_is_refused_in_one_message(tmp_path, name, content, capfd):
    (tmp_path / name).write_bytes(content)
    said = refusal(tmp_path, files=[name])
    assert said.startswith(f"data.files[0]: cannot read {tmp_path}/{name} as {name.partition('.')[2]} (")
    assert said.endswith("); is it damaged, or of another kind?")
    assert capfd.readouterr().err == ""


def test_a_parquet_file_damaged_in_the_middle_is_refused_and_the_process_ends_in_order(tmp_path):
    words = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(20_000)]
    pq.write_table(pa.table({"text": words}), tmp_path / "a.parquet", row_group_size=2_000, compression="gzip")
    raw = bytearray((tmp_path / "a.parquet").read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 5_000] = os.urandom(5_000)
    (tmp_path / "a.parquet").write_bytes(raw)
    path = f"pathlib.Path({str(tmp_path / 'a.parquet')!r})"
    code = f"import pathlib\nfrom altgrad_text import HuggingFace\nHuggingFace(files=[{path}]).build()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert f"ManifestError: data.files[0]: cannot read {tmp_path}/a.parquet as parquet (" in done.stderr


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    assert refusal(tmp_path, files=["x/*.parquet"]) == (
        f'data.files[0]: no file matches "x/*.parquet" (looked in {tmp_path}); paths are relative to the manifest, and '
        '"**/*.txt" searches all folders below'
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, 'expected either files = ["data/*.parquet"] or path = "owner/name"'),
        ({"files": ["a"], "path": "b"}, 'expected either files = ["data/*.parquet"] or path = "owner/name"'),
        ({"files": ["a"], "config": "x"}, "config does not go with files; leave it out"),
        ({"files": ["a"], "validation_split": "x"}, "validation_split does not go with files; leave it out"),
        ({"path": "a", "validation_files": ["x"]}, "validation_files does not go with path; leave it out"),
    ],
)
def test_options_that_contradict_each_other_are_refused_with_the_manifest(tmp_path, values, said):
    with pytest.raises(ValidationError) as caught:
        options(tmp_path, **values)
    assert caught.value.errors()[0]["msg"] == f"Value error, {said}"


@pytest.mark.parametrize("values", [{"files": ["acts.parquet"]}, {"path": "owner/name"}])
def test_without_the_library_it_says_what_to_install(acts, monkeypatch, values):
    for module in ("datasets", "datasets.utils"):
        monkeypatch.setitem(sys.modules, module, None)
    assert refusal(acts, **values) == 'data.use: huggingface needs a package: pip install "altgrad[datasets]"'


# ---- the network ----
