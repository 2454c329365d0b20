"""The prose every Python carries: the topics of `help()`, and what its standard library says about itself."""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from altgrad_core import ManifestError
from altgrad_text.prose import prose

SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test", "pydoc_data", "__pycache__"}
LEAST_CHARACTERS = 1_000_000


def read_python_docs(library: Path | None = None) -> tuple[str, str]:
    """The Python it is from, and the text; read once in a process, for a Python does not change while it runs.

    It depends on the version of Python and on how it was packaged, not on what is installed into it. Documents stand
    in the order of the SHA-256 of their names, so that every part of the text is a mixture; repetitions are dropped.

    Raises:
        ManifestError: this Python came without the sources of its library.
    """
    return _read(library or Path(sysconfig.get_path("stdlib")))


@lru_cache(maxsize=1)
def _read(library: Path) -> tuple[str, str]:
    documents = sorted([*_topics(), *_modules(library)], key=lambda document: _digest(document[0]))
    pieces = dict.fromkeys(piece for _, pieces in documents for piece in pieces if piece)
    text = "\n\n".join(pieces)
    if len(text) < LEAST_CHARACTERS:
        raise ManifestError(
            f"data: this Python has only {len(text)} characters of prose, expected {LEAST_CHARACTERS} or more "
            f'(looked for .py files in {library}); use an ordinary Python, or your own text with use = "text-files"'
        )
    return f"Python {platform.python_version()}: help topics and standard library prose", text


def _topics() -> Iterator[tuple[str, list[str]]]:
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:  # Debian's python3-minimal
        return
    for name, text in topics.items():
        yield f"topic {name}", [text.strip()]


def _modules(library: Path) -> Iterator[tuple[str, list[str]]]:
    for directory, folders, files in os.walk(library):
        folders[:] = [folder for folder in folders if folder not in SKIPPED]
        for path in (Path(directory, file) for file in files if file.endswith(".py")):
            yield path.relative_to(library).as_posix(), list(prose(path.read_text("utf-8", errors="replace")))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
