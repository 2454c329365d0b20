"""Tokenizers by name. Every one of them works offline."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
from numpy.typing import NDArray
from tiktoken import Encoding

from altgrad_core import DatasetSpec, ManifestError
from altgrad_text.json_tokenizer import read_json_tokenizer
from altgrad_text.ranks import read_ranks
from altgrad_text.tiktoken_files import arguments_of
from altgrad_text.tokenizer import Tokenizer

# Of white space alone, tiktoken's engine takes 300,000 characters and aborts on a million.
_ENDLESS = re.compile(r"\s{100000}")


@dataclass(frozen=True)
class RankedTokenizer(Tokenizer):
    """A tokenizer of tiktoken; its digest is of its ranks, its pattern and its special tokens.

    Attributes:
        encoding: tiktoken's.
    """

    encoding: Encoding

    @property
    def vocabulary(self) -> int:
        """Special tokens included."""
        return int(self.encoding.n_vocab)

    def tokens(self, text: str) -> NDArray[Any]:
        """The tokens of a text; what looks like a special token in it is text."""
        if self.encoding.name == "bytes":
            return np.frombuffer(text.encode(), dtype=np.uint8)
        parts = [self.encoding.encode_to_numpy(part, disallowed_special=()) for part in _parts(text)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def separator(self, text: str) -> NDArray[Any]:
        """See `Tokenizer.separator`."""
        if text in self.encoding.special_tokens_set:
            return np.array([self.encoding.encode_single_token(text)])
        return self.tokens(text)


def byte_tokens() -> RankedTokenizer:
    """256 tokens: token n is the byte n, so any text is its UTF-8 encoding."""
    ranks = {bytes([value]): value for value in range(256)}
    return RankedTokenizer("bytes", {}, Encoding("bytes", pat_str=r"(?s).", mergeable_ranks=ranks, special_tokens={}))


def tokenizer(name: str) -> Tokenizer:
    """The tokenizer of a name: `bytes`, `tiktoken:NAME`, `ranks:FILE` with a file of tiktoken ranks, or `huggingface:PATH`.

    Raises:
        ManifestError: there is none, or a file it needs is missing or damaged.
    """
    kind, _, which = name.partition(":")
    if name == "bytes":
        return byte_tokens()
    if kind == "tiktoken" and which in tiktoken.list_encoding_names():
        return _made(name, arguments_of(which))
    if kind == "ranks" and which:
        path = Path(which)
        parts = {"pat_str": DatasetSpec.pieces, "mergeable_ranks": read_ranks(path), "special_tokens": {}}
        return _made(f"ranks:{path.name}", {**parts, "name": path.name})
    if kind == "huggingface" and which:
        return read_json_tokenizer(Path(which))
    raise ManifestError(f'data.tokenizer: no tokenizer "{name}"; {_hint(name, which)}')


def _made(name: str, arguments: dict[str, Any]) -> RankedTokenizer:
    ranks = sorted((rank, token) for token, rank in arguments["mergeable_ranks"].items())
    parts = (ranks, arguments["pat_str"], sorted(arguments["special_tokens"].items()))
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return RankedTokenizer(digest, {"tokenizer": {"name": name, "sha256": digest}}, Encoding(**arguments))


def _hint(name: str, which: str) -> str:
    known = {encoding: f"tiktoken:{encoding}" for encoding in tiktoken.list_encoding_names()} | {"bytes": "bytes"}
    near = difflib.get_close_matches((which or name).lower(), known, n=1)
    every = ", ".join(sorted(known.values()))
    return (
        f'did you mean "{known[near[0]]}"?'
        if near
        else f"there is {every}, ranks:FILE for a file of your own, and huggingface:PATH for a tokenizer.json"
    )


def _parts(text: str) -> Iterator[str]:
    """The text, cut where white space does not end."""
    start = 0
    for blank in _ENDLESS.finditer(text):
        yield text[start : blank.end()]
        start = blank.end()
    yield text[start:]
