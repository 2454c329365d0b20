"""Tokens on disk: made once, then mapped into memory by every process that needs the same ones."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADER = 4096
WORTH_KEEPING = 0.5  # seconds it took to make them
TYPES = ("uint8", "uint16", "uint32")


@dataclass(frozen=True)
class Encoded:
    """Tokens of shape (tokens,), and plain facts of the text they were made from."""

    tokens: NDArray[Any]
    facts: dict[str, Any] = field(default_factory=dict)


def kept(key: str, make: Callable[[], Encoded]) -> Encoded:
    """What `make` makes: from the cache where it is there and whole, and put there if it took long.

    A cache that cannot be written costs a warning, and time.
    """
    if (directory := cache_directory()) is None:
        return make()
    path = directory / f"{key}.tokens"
    if (result := _load(path)) is not None:
        return result
    begun = time.perf_counter()
    made = make()
    if not len(made.tokens) or time.perf_counter() - begun < WORTH_KEEPING:
        return made
    try:
        _save(path, made)
    except OSError as error:
        warnings.warn(
            f"tokens are not cached in {directory}: {error.strerror}; they are computed again each time. "
            "Set ALTGRAD_CACHE_DIR to another directory, or to nothing for no cache",
            stacklevel=2,
        )
    return _load(path) or made


def cache_directory() -> Path | None:
    """Where tokens are kept: below `ALTGRAD_CACHE_DIR`, or the user's cache directory; none where that is empty."""
    value = os.environ.get("ALTGRAD_CACHE_DIR")
    if value is None:
        from platformdirs import user_cache_path

        return user_cache_path("altgrad", appauthor=False) / "tokens"
    return Path(value).expanduser().absolute() / "tokens" if value else None


def _save(path: Path, encoded: Encoded) -> None:
    """A header of one page, then the tokens; beside it first, then renamed, so that no other process sees a part."""
    tokens = np.ascontiguousarray(encoded.tokens)
    facts = {"dtype": tokens.dtype.name, "tokens": len(tokens), "facts": encoded.facts}
    header = json.dumps({**facts, "sha256": _digest(facts, tokens)}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(header.ljust(HEADER))
            file.write(_as_bytes(tokens))
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def _load(path: Path) -> Encoded | None:
    """What was saved; None where it is not there, cut short or changed."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(HEADER))
        digest = header.pop("sha256")
        if (
            header["dtype"] not in TYPES
            or path.stat().st_size != HEADER + np.dtype(header["dtype"]).itemsize * header["tokens"]
        ):
            return None
        kind = np.dtype(header["dtype"]).newbyteorder("<")
        tokens = np.memmap(path, dtype=kind, mode="r", offset=HEADER, shape=(header["tokens"],))
        return Encoded(tokens, header["facts"]) if _digest(header, tokens) == digest else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _digest(header: dict[str, Any], tokens: NDArray[Any]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    digest.update(_as_bytes(tokens))
    return digest.hexdigest()


def _as_bytes(tokens: NDArray[Any]) -> memoryview:
    return tokens.astype(tokens.dtype.newbyteorder("<"), copy=False).view(np.uint8).data
