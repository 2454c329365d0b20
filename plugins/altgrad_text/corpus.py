"""A corpus: text that is read when it is asked for, and what tells it from any other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Corpus:
    """Documents in order.

    Attributes:
        source: where they are from, in a few words.
        digest: SHA-256 in hexadecimal of all that decides which documents come, in place of reading them.
        read: gives the documents, the same every time.
        separator: the text between two documents.
    """

    source: str
    digest: str
    read: Callable[[], Iterable[str]]
    separator: str = ""


def one_text(source: str, text: str) -> Corpus:
    """A corpus of one document."""
    return Corpus(source, hashlib.sha256(text.encode()).hexdigest(), lambda: [text])


def all_but_the_last(corpus: Corpus, fraction: float) -> Iterator[str]:
    """The documents without the last `fraction` of their characters; read twice, to know how many there are."""
    left = round((1 - fraction) * sum(map(len, corpus.read())))
    for document in corpus.read():
        yield document[: max(0, left)]
        left -= len(document)
