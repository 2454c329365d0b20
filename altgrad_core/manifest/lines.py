"""On which line of a TOML text each key stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence

Location = tuple[str | int, ...]
_HEADER = re.compile(r"^\s*(\[\[?)([^\[\]]+)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*([A-Za-z0-9_\-"'][A-Za-z0-9_\-."' \t\[\]]*)=""")


def key_lines(text: str) -> dict[Location, int]:
    """The line, counted from 1, of every table header and every key at the start of a line.

    A table without a header of its own has the line of the first one inside it.
    """
    lines: dict[Location, int] = {}
    counts: dict[Location, int] = {}
    table: Location = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _inside_arrays(_dotted(header[2]), counts)
            if header[1] == "[[":
                counts[table] = counts.get(table, -1) + 1
                table = (*table, counts[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_dotted(key[1])), number)
    implied: dict[Location, int] = {}
    for location, number in lines.items():
        for length in range(1, len(location)):
            implied.setdefault(location[:length], number)
    return {**implied, **lines}


def line_of(location: Sequence[str | int], lines: dict[Location, int]) -> int | None:
    """The line of the longest known part of a location."""
    for length in range(len(location), 0, -1):
        if (line := lines.get(tuple(location[:length]))) is not None:
            return line
    return None


def _dotted(key: str) -> Location:
    """`a."b.c"` as ("a", "b.c"); empty where it is no key."""
    try:
        table = tomllib.loads(f"{key.strip()} = 0")
    except ValueError:
        return ()
    path: list[str] = []
    value: object = table
    while isinstance(value, dict):
        name, value = next(iter(value.items()))
        path.append(name)
    return tuple(path)


def _inside_arrays(path: Location, counts: dict[Location, int]) -> Location:
    """The path with the current index after every array of tables it goes through."""
    full: Location = ()
    for position, part in enumerate(path):
        full = (*full, part)
        if full in counts and position < len(path) - 1:
            full = (*full, counts[full])
    return full
