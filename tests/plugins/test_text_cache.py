"""Tokens on disk: the same as without, made again where they are damaged, and never a reason to fail."""

import errno
import json
import multiprocessing
import os
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
from altgrad_text import TextFiles, cache
from altgrad_text.cache import HEADER, Encoded, cache_directory, kept
from altgrad_text.corpus import Corpus, one_text
from altgrad_text.streams import encode, from_corpus
from altgrad_text.tokenizers import tokenizer

from tests.patience import LONGEST


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0.0)
    return tmp_path / "cache" / "tokens"


def make(tokens=(1, 2, 300), *, calls=None, **facts):
    """What makes these tokens, and counts how often it does."""

    def made():
        if calls is not None:
            calls.append(1)
        return Encoded(np.array(tokens, dtype=np.uint16), facts)

    return made


def files(directory):
    return sorted(path.name for path in directory.iterdir())


def test_what_took_long_is_made_once_and_then_mapped_into_memory(directory):
    calls = []
    first, second = (kept("a", make(calls=calls, bytes=3)) for _ in range(2))
    assert len(calls) == 1
    for encoded in (first, second):
        assert isinstance(encoded.tokens, np.memmap)
        assert (encoded.tokens.tolist(), encoded.tokens.dtype, encoded.facts) == ([1, 2, 300], np.uint16, {"bytes": 3})
        assert not encoded.tokens.flags.writeable
    assert files(directory) == ["a.tokens"]


def test_what_took_a_moment_is_not_kept(directory, monkeypatch):
    monkeypatch.setattr(cache, "WORTH_KEEPING", 60.0)
    assert kept("a", make()).tokens.tolist() == [1, 2, 300]
    assert not directory.exists()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_every_size_of_token_comes_back(dtype):
    tokens = np.array([0, 1, np.iinfo(dtype).max], dtype=dtype)
    for _ in range(2):
        back = kept("a", lambda: Encoded(tokens)).tokens
        assert (back.dtype, back.tolist()) == (dtype, tokens.tolist())


def damage(path, place, change):
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content, place))


def flipped(content, place):
    content[place] ^= 1
    return content


def cut(content, place):
    return content[:place]


def longer(content, place):
    return content + b"\0" * 2


@pytest.mark.parametrize("change", [flipped, cut, longer])
@pytest.mark.parametrize("place", [0, 10, 40, HEADER, HEADER + 1, HEADER + 5])
def test_a_damaged_file_is_noticed_and_made_again(directory, change, place):
    calls = []
    kept("a", make(calls=calls))
    damage(directory / "a.tokens", place, change)
    assert kept("a", make(calls=calls)).tokens.tolist() == [1, 2, 300]
    assert len(calls) == 2
    assert kept("a", make(calls=calls)).tokens.tolist() == [1, 2, 300]
    assert len(calls) == 2


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"{}", b'"x"', b"nonsense", b'{"dtype": "O", "tokens": 3, "sha256": ""}']
)
def test_a_file_of_another_kind_is_made_again(directory, header):
    directory.mkdir(parents=True)
    (directory / "a.tokens").write_bytes(header.ljust(HEADER) + b"\0" * 24)
    assert kept("a", make()).tokens.tolist() == [1, 2, 300]


def test_a_directory_that_cannot_be_made_costs_a_warning(directory):
    directory.parent.write_text("a file where the directory would be")
    with pytest.warns(UserWarning) as caught:
        assert kept("a", make()).tokens.tolist() == [1, 2, 300]
    assert str(caught[0].message) == (
        f"tokens are not cached in {directory}: Not a directory; they are computed again each time. "
        "Set ALTGRAD_CACHE_DIR to another directory, or to nothing for no cache"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_is_full_or_read_only_costs_a_warning_and_leaves_nothing_behind(directory, monkeypatch, number):
    def fail(self, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.warns(UserWarning, match=os.strerror(number)):
        assert kept("a", make()).tokens.tolist() == [1, 2, 300]
    assert files(directory) == []


def test_an_empty_variable_means_no_cache(monkeypatch):
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", "")
    assert cache_directory() is None
    assert kept("a", make()).tokens.tolist() == [1, 2, 300]


def test_without_the_variable_it_is_the_cache_directory_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("ALTGRAD_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_directory() == tmp_path / "altgrad" / "tokens"


def race(number, barrier, results):
    barrier.wait()
    for turn in range(20):
        encoded = kept(f"{turn}", make(tokens=range(50_000)))
        results.put(encoded.tokens.tolist() == list(range(50_000)))


def test_processes_that_need_the_same_tokens_at_once_all_get_them(directory):
    forked = multiprocessing.get_context("fork")
    barrier, results = forked.Barrier(4), forked.Queue()
    workers = [forked.Process(target=race, args=(number, barrier, results)) for number in range(4)]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=LONGEST) for _ in range(80)] == [True] * 80
    for worker in workers:
        worker.join()
    assert files(directory) == sorted(f"{turn}.tokens" for turn in range(20))


# ---- of a corpus ----


def test_tokens_are_the_same_with_the_cache_without_it_and_from_it(monkeypatch, tmp_path):
    (tmp_path / "a.txt").write_text("the tokens of this text " * 100)
    spec = TextFiles(paths=[tmp_path / "a.txt"])
    made, mapped = spec.build(), spec.build()
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", "")
    without = spec.build()
    assert isinstance(mapped.train, np.memmap)
    assert not isinstance(without.train, np.memmap)
    for data in (made, mapped):
        assert data.facts == without.facts
        assert np.array_equal(data.train, without.train)
        assert np.array_equal(data.validation, without.validation)


def test_another_text_and_another_tokenizer_have_files_of_their_own(tmp_path, directory):
    ranks = {**{bytes([value]): value for value in range(256)}, b"ab": 256}
    for name, more in (("a", {}), ("b", {b"abc": 257})):
        lines = [b64encode(token) + b" %d\n" % rank for token, rank in {**ranks, **more}.items()]
        (tmp_path / f"{name}.tiktoken").write_bytes(b"".join(lines))
    names = ["bytes", f"ranks:{tmp_path}/a.tiktoken", f"ranks:{tmp_path}/b.tiktoken"]
    lengths = [len(encode(one_text("", "abc"), tokenizer(name)).tokens) for name in names]
    assert lengths == [3, 2, 1]
    encode(one_text("", "abd"), tokenizer("bytes"))
    assert len(files(directory)) == 4


def test_documents_are_separated_and_counted():
    corpus = Corpus("two", "digest", lambda: iter(["ab", "c"]), separator="--")
    data = from_corpus(corpus, tokenizer("bytes"), validation_fraction=0.2)
    assert np.concatenate([data.train, data.validation]).tobytes() == b"ab--c"
    assert (data.facts["bytes"], data.facts["documents"]) == (5, 2)


def test_the_header_is_plain_json_of_one_page(directory):
    kept("a", make(bytes=3))
    with (directory / "a.tokens").open("rb") as file:
        told = json.loads(file.read(HEADER))
    assert (told["dtype"], told["tokens"], told["facts"]) == ("uint16", 3, {"bytes": 3})
    assert (directory / "a.tokens").stat().st_size == HEADER + 6
