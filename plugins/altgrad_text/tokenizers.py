"""Tokenizers by name. Every one of them works offline."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from tiktoken import Encoding

from altgrad_core import ManifestError


def byte_tokens() -> Encoding:
    """256 tokens: token n is the byte n, so any text is its UTF-8 encoding."""
    return Encoding(
        "bytes",
        pat_str=r"(?s).{1,64}",  # short pieces: the merge search is quadratic in their length
        mergeable_ranks={bytes([value]): value for value in range(256)},
        special_tokens={},
    )


TOKENIZERS: dict[str, Callable[[], Encoding]] = {"bytes": byte_tokens}


def tokenizer(name: str) -> Encoding:
    """The tokenizer of this name.

    Raises:
        ManifestError: there is none.
    """
    if name not in TOKENIZERS:
        near = difflib.get_close_matches(name.lower(), TOKENIZERS, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there is {', '.join(TOKENIZERS)}"
        raise ManifestError(f'data.tokenizer: no tokenizer "{name}"; {hint}')
    return TOKENIZERS[name]()
