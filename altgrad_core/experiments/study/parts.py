"""Reads files that are alike in most parts, as those of the cells of a study are: equal parts are parsed and kept once."""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

MOST = 10_000  # parts that are remembered; those that many cells share come early
HEADER = re.compile(r"""\[\[?\s*("[^"\n]*"|'[^'\n]*'|[A-Za-z0-9_-]+)""")


class Parts:
    """What was parsed so far. What it gives is shared by all who asked for the same: it is not to be changed."""

    def __init__(self) -> None:
        self._tables = dict[str, dict[str, Any]]()
        self._objects = dict[bytes, Any]()

    def toml(self, text: str) -> dict[str, Any]:
        """As `tomllib.loads`, which also decides wherever top-level tables cannot be told apart line by line.

        A part that is TOML by itself leaves nothing open, so that the next line begins where a table may begin.

        Raises:
            ValueError: it is no TOML.
        """
        result: dict[str, Any] = {}
        for part in _top_level(text):
            try:
                table = self._tables[part] if part in self._tables else tomllib.loads(part)
            except ValueError:
                return tomllib.loads(text)
            if len(self._tables) < MOST:
                self._tables[part] = table
            if not result.keys().isdisjoint(table):
                return tomllib.loads(text)
            result |= table
        return result

    def json(self, content: bytes) -> Any:
        """As `json.loads`.

        Raises:
            ValueError: it is no JSON.
        """
        if content in self._objects:
            return self._objects[content]
        value = json.loads(content)
        if len(self._objects) < MOST:
            self._objects[content] = value
        return value


def _top_level(text: str) -> Iterator[str]:
    """The text in pieces: each time the first key of a header is another one, a piece begins."""
    begin, at, root = 0, 0, None
    for line in io.StringIO(text, newline="\n"):
        header = HEADER.match(line)
        if header is not None and header[1] != root:
            if at > begin:
                yield text[begin:at]
            begin, root = at, header[1]
        at += len(line)
    yield text[begin:]
