"""`altgrad train-tokenizer`: what it learns gives the same tokens here and in the library that learned it."""

from __future__ import annotations

import base64
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from altgrad_core import DatasetSpec
from altgrad_core.registry.registry import installed
from altgrad_core.running.data.vocabulary import learn_ranks, letters_of_bytes

VOCABULARY = 1500


@pytest.fixture(scope="module")
def texts() -> tuple[str, str]:
    """Text to learn from, and text that was held out; of many kinds, since a manual is nearly ASCII."""
    spec = installed().get("dataset", "python-docs")()
    (whole,) = spec.corpus().read()
    strange = (
        "naïve façade — 東京都 привет мир 12345 ٣٤٥ \u00a0\u2003 e\u0301 🙂🙂 don't we'll\r\n\t\t x = [0]*9;;\n\n\n"
        * 40
    )
    return whole[:400_000] + strange, whole[-200_000:] + strange


@pytest.fixture(scope="module")
def ranks(texts: tuple[str, str]) -> dict[bytes, int]:
    return learn_ranks([texts[0]], vocabulary=VOCABULARY, pieces=DatasetSpec.pieces)


@pytest.fixture(scope="module")
def ours(ranks: dict[bytes, int]) -> tiktoken.Encoding:
    return tiktoken.Encoding("ours", pat_str=DatasetSpec.pieces, mergeable_ranks=ranks, special_tokens={})


@pytest.fixture(scope="module")
def theirs(texts: tuple[str, str]) -> Tokenizer:
    """The library's own tokenizer, learned from the same text by its own defaults."""
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(DatasetSpec.pieces), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([texts[0]], BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    return tokenizer


def test_the_letters_of_bytes_are_those_of_the_library() -> None:
    assert set(letters_of_bytes()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(letters_of_bytes().values()) == list(range(256))


def test_every_rank_is_there_once_and_the_bytes_are_among_them(ranks: dict[bytes, int]) -> None:
    assert list(ranks.values()) == list(range(VOCABULARY))
    assert {bytes([value]) for value in range(256)} <= set(ranks)


def test_text_that_was_held_out_has_the_tokens_of_the_library(
    texts: tuple[str, str], ours: tiktoken.Encoding, theirs: Tokenizer
) -> None:
    held_out = texts[1]
    tokens = ours.encode_ordinary(held_out)
    assert tokens == theirs.encode(held_out).ids
    assert len(tokens) < len(held_out.encode()) / 2.2  # it has learned something
    assert ours.decode(tokens) == held_out


@given(st.text())
@example("it's  a\u2003b\u0085\u180e \n\n x")
@example("½٣Ⅷ²³ 9999999")
def test_any_text_has_the_tokens_of_the_library(ours: tiktoken.Encoding, theirs: Tokenizer, text: str) -> None:
    assert ours.encode_ordinary(text) == theirs.encode(text).ids


@given(st.text(alphabet="a '\n\tsé\u06619.!\u00a0", max_size=30))
def test_text_of_the_classes_the_pattern_tells_apart_has_the_tokens_of_the_library(
    ours: tiktoken.Encoding, theirs: Tokenizer, text: str
) -> None:
    assert ours.encode_ordinary(text) == theirs.encode(text).ids


def test_the_same_text_teaches_the_same_in_any_process(
    altgrad_process: Callable[..., Any], altgrad: Callable[..., Any], corpus: Path
) -> None:
    here, there = corpus.parent / "a.tiktoken", corpus.parent / "b.tiktoken"
    assert altgrad("train-tokenizer", corpus, "--vocabulary", 400, "--out", here).code == 0
    other = {**os.environ, "PYTHONHASHSEED": "7", "RAYON_NUM_THREADS": "3", "TOKENIZERS_PARALLELISM": "true"}
    assert altgrad_process("train-tokenizer", corpus, "--vocabulary", 400, "--out", there, env=other).code == 0
    assert here.read_bytes() == there.read_bytes()


@pytest.fixture
def corpus(tiny: Path, texts: tuple[str, str]) -> Path:
    """A manifest of text of one's own."""
    (tiny.parent / "text.txt").write_text(texts[0][:100_000])
    data = 'use = "text-files"\npaths = ["text.txt"]\n'
    tiny.write_text(tiny.read_text().replace('use = "synthetic"\nvocabulary = 16\ntokens = 5000\n', data))
    return tiny


def test_a_learned_vocabulary_trains_a_model(
    altgrad: Callable[..., Any], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.parent)
    learned = altgrad("train-tokenizer", "tiny.toml", "--vocabulary", 300, "--out", "vocabularies/my.tiktoken")
    assert (learned.code, learned.out) == (
        0,
        "vocabularies/my.tiktoken: 300 tokens\nto use it, in tiny.toml:\n\n[data]\n"
        'tokenizer = "ranks:vocabularies/my.tiktoken"\n',
    )
    first, last = Path("vocabularies/my.tiktoken").read_text().splitlines()[::299]
    assert first == f"{base64.b64encode(b'!').decode()} 0"
    assert last.split()[1] == "299"
    for out, name in (("a", "ranks:vocabularies/my.tiktoken"), ("b", "vocabularies/my.tiktoken")):
        ran = altgrad("run", "tiny.toml", "--steps", 1, "--out", out, "--set", f"data.tokenizer={name}")
        assert ran.code == 0
        resolved = Path(out, "resolved.toml").read_text()
        assert f'tokenizer = "ranks:{corpus.parent}/vocabularies/my.tiktoken"' in resolved


def test_what_is_held_out_teaches_nothing(altgrad: Callable[..., Any], corpus: Path) -> None:
    digests = []
    for end in ("zq" * 5_000, "xj" * 5_000):
        (corpus.parent / "text.txt").write_text("some words and some more words " * 3_000 + end)
        out = corpus.parent / f"{end[:2]}.tiktoken"
        altgrad("train-tokenizer", corpus, "--vocabulary", 300, "--out", out, "--set", "data.validation_fraction=0.2")
        digests.append(hashlib.sha256(out.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_text_with_too_few_pairs_says_how_many_tokens_it_gave(altgrad: Callable[..., Any], corpus: Path) -> None:
    (corpus.parent / "text.txt").write_text("abab abab cdcd")
    learned = altgrad("train-tokenizer", corpus, "--vocabulary", 1000, "--out", corpus.parent / "few.tiktoken")
    assert learned.code == 0
    count = len((corpus.parent / "few.tiktoken").read_text().splitlines())
    assert 256 < count < 300
    assert f"few.tiktoken: {count} tokens, not 1000: no pair is left\n" in learned.out


def test_a_data_set_without_text_is_refused(altgrad: Callable[..., Any], tiny: Path) -> None:
    refused = altgrad("train-tokenizer", tiny, "--out", tiny.parent / "x.tiktoken")
    assert (refused.code, refused.err) == (
        2,
        f'altgrad: {tiny}: data.use: "synthetic" is not made of text, from which a tokenizer could learn\n',
    )


def test_a_file_that_is_there_is_left_alone(altgrad: Callable[..., Any], corpus: Path) -> None:
    out = corpus.parent / "x.tiktoken"
    out.write_text("mine")
    refused = altgrad("train-tokenizer", corpus, "--out", out)
    assert (refused.code, refused.err) == (2, f"altgrad: --out {out}: exists; --overwrite replaces it\n")
    assert out.read_text() == "mine"


def test_a_wrong_data_table_is_refused(altgrad: Callable[..., Any], corpus: Path) -> None:
    said = altgrad("train-tokenizer", corpus, "--out", corpus.parent / "x", "--set", "data.use=text-file")
    assert (said.code, said.err) == (
        2,
        'altgrad: --set: data.use: no dataset "text-file"; did you mean "text-files"?\n',
    )
    said = altgrad("train-tokenizer", corpus, "--out", corpus.parent / "x", "--set", "data.path=3")
    assert (said.code, said.err) == (
        2,
        'altgrad: --set: data.path: text-files has no option "path"; did you mean "paths"?\n',
    )


def test_without_the_library_it_says_what_to_install(
    altgrad: Callable[..., Any], corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    said = altgrad("train-tokenizer", corpus, "--out", corpus.parent / "x.tiktoken")
    assert (said.code, said.err) == (
        2,
        'altgrad: learning a vocabulary needs a package: pip install "altgrad[datasets]"\n',
    )
