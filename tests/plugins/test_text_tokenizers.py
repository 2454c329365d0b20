"""Tokenizers by name: tiktoken's own from files on this machine, and ranks of one's own."""

import base64
import hashlib
import re
import socket

import numpy as np
import pytest
import tiktoken
from altgrad_text import PythonDocs, TextFiles
from altgrad_text.tiktoken_files import cached_path
from altgrad_text.tokenizers import tokenizer
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core import DatasetSpec, ManifestError

BYTES = {bytes([value]): value for value in range(256)}
RANKS = {**BYTES, b"th": 256, b"the": 257, b" the": 258}


def written(ranks):
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())


def refusal(name):
    with pytest.raises(ManifestError) as caught:
        tokenizer(name)
    return str(caught.value)


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network; tiktoken's cache and ours in empty directories."""

    def refuse(*arguments, **options):
        raise AssertionError(f"a connection was attempted: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(tmp_path / "altgrad"))


@pytest.fixture
def small_encoding(monkeypatch):
    """An encoding of tiktoken's, of the kind of cl100k_base, whose file is small; its URL."""
    url = "https://example.invalid/encodings/small.tiktoken"
    expected = hashlib.sha256(written(RANKS)).hexdigest()

    def small():
        ranks = tiktoken.load.load_tiktoken_bpe(url, expected_hash=expected)
        special = {"<|end|>": 70_000}
        return {"name": "small", "pat_str": r" ?\w+|\W", "mergeable_ranks": ranks, "special_tokens": special}

    tiktoken.list_encoding_names()
    monkeypatch.setitem(tiktoken.registry.ENCODING_CONSTRUCTORS, "small", small)
    return url


# ---- tiktoken:NAME ----


def test_without_its_files_an_encoding_says_what_to_put_where(tmp_path):
    url = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
    where = tmp_path / "tiktoken"
    assert refusal("tiktoken:gpt2") == (
        "data.tokenizer: tiktoken:gpt2 needs 2 files that are not on this machine, and AltGrad downloads nothing by "
        "itself; on a machine with a network, get what is missing with\n"
        f"  curl --create-dirs -o {where}/6d1cbeee0f20b3d9449abfede4726ed8212e3aee {url}/vocab.bpe\n"
        f"  curl --create-dirs -o {where}/6c7ea1a7e38e3a7f062df639a5b80947f075ffe6 {url}/encoder.json\n"
        'or set TIKTOKEN_CACHE_DIR to a directory that has such files, or take tokenizer = "bytes"'
    )


@pytest.mark.parametrize("name", tiktoken.list_encoding_names())
def test_every_encoding_of_tiktoken_names_its_files_without_a_connection(name, tmp_path):
    said = refusal(f"tiktoken:{name}")
    assert said.startswith(f"data.tokenizer: tiktoken:{name} needs ")
    for path, url in re.findall(r"curl --create-dirs -o (\S+) (\S+)", said):
        assert path == str(tmp_path / "tiktoken" / hashlib.sha1(url.encode()).hexdigest())


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"TIKTOKEN_CACHE_DIR": "/a", "DATA_GYM_CACHE_DIR": "/b"}, "/a"),
        ({"DATA_GYM_CACHE_DIR": "/b"}, "/b"),
        ({"TIKTOKEN_CACHE_DIR": ""}, "/tmp/of/mine/data-gym-cache"),
        ({}, "/tmp/of/mine/data-gym-cache"),
    ],
)
def test_files_are_looked_for_where_tiktoken_keeps_them(variables, expected, monkeypatch):
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp/of/mine")
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    assert str(cached_path("x").parent) == expected


def test_with_its_file_in_place_an_encoding_is_made(small_encoding):
    path = cached_path(small_encoding)
    path.parent.mkdir()
    path.write_bytes(written(RANKS))
    made = tokenizer("tiktoken:small")
    assert made.encoding.name == "small"
    assert made.tokens("the the<|end|>").tolist()[:2] == [257, 258]
    assert made.encoding.decode(made.tokens("the<|end|>").tolist()) == "the<|end|>"  # text, as any other
    assert 70_000 not in made.tokens("the<|end|>")
    assert made.separator("<|end|>").tolist() == [70_000]
    assert made.separator("\n").tolist() == [10]


def test_a_vocabulary_beyond_65536_takes_four_bytes_a_token(small_encoding, tmp_path):
    path = cached_path(small_encoding)
    path.parent.mkdir()
    path.write_bytes(written(RANKS))
    (tmp_path / "a.txt").write_text("the the end")
    data = TextFiles(paths=[tmp_path / "a.txt"], tokenizer="tiktoken:small").build()
    assert (data.vocabulary, data.train.dtype) == (70_001, np.uint32)


def test_a_damaged_file_is_refused_and_left_where_it_is(small_encoding):
    path = cached_path(small_encoding)
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    found, expected = (hashlib.sha256(raw).hexdigest() for raw in (b"damaged", written(RANKS)))
    assert refusal("tiktoken:small") == (
        f"data.tokenizer: {path} is damaged, or not {small_encoding}: its SHA-256 is {found}, expected {expected}; "
        "get it again"
    )
    assert path.read_bytes() == b"damaged"


def test_tiktoken_itself_reads_as_before_afterwards():
    usual = tiktoken.load.read_file_cached
    refusal("tiktoken:gpt2")
    assert tiktoken.load.read_file_cached is usual


# ---- ranks:FILE ----


@pytest.fixture
def ranks(tmp_path):
    (tmp_path / "my.tiktoken").write_bytes(written(RANKS))
    return tmp_path / "my.tiktoken"


def test_ranks_of_ones_own_merge_pairs_within_the_pieces_of_the_contract(ranks):
    made = tokenizer(f"ranks:{ranks}")
    assert made.encoding.name == "my.tiktoken"
    assert made.tokens("the then 7the").tolist() == [257, 258, ord("n"), 32, ord("7"), 257]
    expected = tiktoken.Encoding("x", pat_str=DatasetSpec.pieces, mergeable_ranks=RANKS, special_tokens={})
    text = " the\n\n  the've théthe 12the34"
    assert made.tokens(text).tolist() == expected.encode_ordinary(text)


def test_the_facts_name_the_tokenizer_and_its_hash(ranks, tmp_path):
    (tmp_path / "a.txt").write_text("the end")
    facts = [
        TextFiles(paths=[tmp_path / "a.txt"], tokenizer=name).build().facts for name in (f"ranks:{ranks}", "bytes")
    ]
    assert facts[0]["tokenizer"]["name"] == "ranks:my.tiktoken"
    assert facts[0]["tokenizer"]["sha256"] == tokenizer(f"ranks:{ranks}").digest
    assert "tokenizer" not in facts[1]
    changed = tmp_path / "other.tiktoken"
    changed.write_bytes(written({**RANKS, b"end": 259}))
    assert tokenizer(f"ranks:{changed}").digest != tokenizer(f"ranks:{ranks}").digest


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", " is empty; altgrad train-tokenizer makes such a file"),
        (b"IQ== 0\nnonsense\n",
         ':2: expected a token in base64, a space and its rank, got "nonsense"; altgrad train-tokenizer makes such a file'),
        (b"IQ== 0\nIQ= 1\n",
         ':2: expected a token in base64, a space and its rank, got "IQ= 1"; altgrad train-tokenizer makes such a file'),
        (b"IQ== 0\n\nIQ== 1\n", ":3: token b'!' is in the file twice"),
        (written({**BYTES, b"th": 300}),
         ": its ranks must be 0 to 256, each once; 256 is missing; altgrad train-tokenizer makes such a file"),
        (written({**BYTES, b"th": 255}),
         ": its ranks must be 0 to 256, each once; 256 is missing; altgrad train-tokenizer makes such a file"),
        (written({**BYTES, b"th": -1}),
         ": its ranks must be 0 to 256, each once; 256 is missing; altgrad train-tokenizer makes such a file"),
        (written({bytes([v]): v for v in range(255)}),
         ": 1 of the 256 single bytes are not tokens, such as 0xff, so some text could not be encoded; "
         "altgrad train-tokenizer makes such a file"),
        (b"\xff\xfe\0binary",
         ':1: expected a token in base64, a space and its rank, got "\ufffd\ufffd\0binary"; '
         "altgrad train-tokenizer makes such a file"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_set_of_ranks_is_refused(tmp_path, content, problem):
    (tmp_path / "x.tiktoken").write_bytes(content)
    assert refusal(f"ranks:{tmp_path}/x.tiktoken") == f"data.tokenizer: {tmp_path}/x.tiktoken{problem}"


def test_a_file_that_is_not_there_or_a_directory_is_refused(tmp_path):
    assert refusal(f"ranks:{tmp_path}/no") == (
        f"data.tokenizer: no file {tmp_path}/no; a path is relative to the manifest, and altgrad train-tokenizer makes "
        "such a file"
    )
    assert refusal(f"ranks:{tmp_path}") == f"data.tokenizer: cannot read {tmp_path}: Is a directory"


@pytest.mark.parametrize("written", ["ranks:my.tiktoken", "my.tiktoken", "../{name}/my.tiktoken"])
def test_the_path_of_ranks_is_relative_to_the_manifest(ranks, written):
    name = written.format(name=ranks.parent.name)
    made = PythonDocs.model_validate({"tokenizer": name}, context={"directory": str(ranks.parent)})
    assert tokenizer(made.tokenizer).encoding.name == "my.tiktoken"


# ---- any ----


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("byte", 'did you mean "bytes"?'),
        ("gpt2", 'did you mean "tiktoken:gpt2"?'),
        ("tiktoken:cl100kbase", 'did you mean "tiktoken:cl100k_base"?'),
        ("words", "there is bytes, " + ", ".join(f"tiktoken:{n}" for n in sorted(tiktoken.list_encoding_names()))
         + ", ranks:FILE for a file of your own, and huggingface:PATH for a tokenizer.json"),
    ],
)  # fmt: skip
def test_an_unknown_tokenizer_is_refused(name, hint):
    assert refusal(name) == f'data.tokenizer: no tokenizer "{name}"; {hint}'


@given(text=st.text(), which=st.sampled_from(["bytes", "ranks"]))
def test_every_text_comes_back_from_its_tokens(tmp_path_factory, text, which):
    path = tmp_path_factory.getbasetemp() / "any.tiktoken"
    path.write_bytes(written(RANKS))
    made = tokenizer("bytes" if which == "bytes" else f"ranks:{path}")
    assert made.encoding.decode(made.tokens(text).tolist()) == text


@pytest.mark.parametrize("text", [" " * 1_200_000 + "the", "\n" * 1_200_000, "the" + " \t" * 600_000 + "the"])
def test_white_space_without_end_is_encoded(ranks, text):
    made = tokenizer(f"ranks:{ranks}")
    assert made.encoding.decode(made.tokens(text).tolist()) == text
