"""A file of tiktoken ranks: on every line a token in base64, a space, and its number, which is its rank in merging."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from altgrad_core import ManifestError

MOST_BYTES = 1 << 28
_MAKE = "altgrad train-tokenizer makes such a file"


def read_ranks(path: Path) -> dict[bytes, int]:
    """The number of every token; all 256 bytes are among them.

    Raises:
        ManifestError: the file is missing, unreadable, or no complete set of ranks; with the line.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip():
            continue
        token, rank = _parsed(line, where=f"data.tokenizer: {path}:{number}")
        if token in ranks:
            raise ManifestError(f"data.tokenizer: {path}:{number}: token {token!r} is in the file twice")
        ranks[token] = rank
    _check(ranks, path)
    return ranks


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ManifestError(f"data.tokenizer: cannot read {path}: not a regular file")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ManifestError(f"data.tokenizer: {path} has {size:,} bytes, expected {MOST_BYTES:,} at most")
        return path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(
            f"data.tokenizer: no file {path}; a path is relative to the manifest, and {_MAKE}"
        ) from None
    except OSError as error:
        raise ManifestError(f"data.tokenizer: cannot read {path}: {error.strerror}") from None


def _parsed(line: bytes, *, where: str) -> tuple[bytes, int]:
    try:
        written, rank = line.split()
        return base64.b64decode(written, validate=True), int(rank)
    except (ValueError, binascii.Error):
        shown = line[:40].decode("utf-8", errors="replace")
        raise ManifestError(
            f'{where}: expected a token in base64, a space and its rank, got "{shown}"; {_MAKE}'
        ) from None


def _check(ranks: dict[bytes, int], path: Path) -> None:
    """Refuse what tiktoken would fall over, or mistake."""
    if not ranks:
        raise ManifestError(f"data.tokenizer: {path} is empty; {_MAKE}")
    if missing := set(range(len(ranks))) - set(ranks.values()):
        raise ManifestError(
            f"data.tokenizer: {path}: its ranks must be 0 to {len(ranks) - 1}, each once; {min(missing)} is missing; {_MAKE}"
        )
    absent = [value for value in range(256) if bytes([value]) not in ranks]
    if absent:
        raise ManifestError(
            f"data.tokenizer: {path}: {len(absent)} of the 256 single bytes are not tokens, such as 0x{absent[0]:02x}, "
            f"so some text could not be encoded; {_MAKE}"
        )
