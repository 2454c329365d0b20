"""tiktoken's own encodings from the files on this machine: nothing is ever downloaded for them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiktoken.load
import tiktoken.registry

from altgrad_core import ManifestError


def arguments_of(name: str) -> dict[str, Any]:
    """The arguments of `tiktoken.Encoding` for one of `tiktoken.list_encoding_names()`.

    Raises:
        ManifestError: a file it needs is not on this machine, with where from and where to; or it is damaged.
    """
    constructor = (tiktoken.registry.ENCODING_CONSTRUCTORS or {})[name]
    missing: list[str] = []
    arguments: dict[str, Any] = {}
    failed: Exception | None = None
    with _reading_from_disk(missing):
        try:
            arguments = constructor()
        except ManifestError:
            raise
        except Exception as error:  # it has read the empty contents that stand for a missing file
            failed = error
    if missing:
        raise ManifestError(_what_to_do(name, missing))
    if failed is not None:
        raise ManifestError(f"data.tokenizer: tiktoken:{name} cannot be made: {type(failed).__name__}: {failed}")
    return arguments


def cached_path(url: str) -> Path:
    """Where tiktoken looks for what stands at a URL."""
    value = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    directory = Path(value) if value else Path(tempfile.gettempdir(), "data-gym-cache")
    return directory / hashlib.sha1(url.encode()).hexdigest()


@contextmanager
def _reading_from_disk(missing: list[str]) -> Iterator[None]:
    """Let tiktoken's constructors read files alone. The URL of one that is not there is noted, its contents are empty.

    tiktoken would download the file, and delete one whose contents are not the expected ones.
    """

    def read(blobpath: str, expected_hash: str | None = None) -> bytes:
        url, path = blobpath, cached_path(blobpath)
        try:
            contents = path.read_bytes()
        except FileNotFoundError:
            missing.append(url)
            return b""
        except OSError as error:
            raise ManifestError(f"data.tokenizer: cannot read {path}: {error.strerror}") from None
        if expected_hash and (result := hashlib.sha256(contents).hexdigest()) != expected_hash:
            raise ManifestError(
                f"data.tokenizer: {path} is damaged, or not {url}: its SHA-256 is {result}, expected {expected_hash}; "
                "get it again"
            )
        return contents

    usual = tiktoken.load.read_file_cached
    tiktoken.load.read_file_cached = read
    try:
        yield
    finally:
        tiktoken.load.read_file_cached = usual


def _what_to_do(name: str, missing: list[str]) -> str:
    files = "a file that is" if len(missing) == 1 else f"{len(missing)} files that are"
    commands = "".join(f"\n  curl --create-dirs -o {cached_path(url)} {url}" for url in missing)
    return (
        f"data.tokenizer: tiktoken:{name} needs {files} not on this machine, and AltGrad downloads nothing by itself; "
        f"on a machine with a network, get what is missing with{commands}\nor set TIKTOKEN_CACHE_DIR to a directory that has "
        'such files, or take tokenizer = "bytes"'
    )
