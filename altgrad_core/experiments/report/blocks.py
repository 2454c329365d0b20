"""What a report is made of, whichever way it is shown: sentences, figures, tables, sections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

OPEN_CAUTIONS = 2


@dataclass(frozen=True)
class Text:
    """A paragraph. `gap` is what the records do not hold, and what to record to have it."""

    text: str
    kind: Literal["plain", "caution", "gap"] = "plain"


@dataclass(frozen=True)
class Panel:
    """One figure: the name of its file, its SVG, and what it shows in words."""

    name: str
    svg: str
    alt: str

    @property
    def width(self) -> float:
        """In points, at which its letters have their size."""
        result = re.search(r'width="([0-9.]+)"', self.svg)
        return float(result[1]) if result else 350.0


@dataclass(frozen=True)
class Gallery:
    """Figures of one kind under one caption, which says how to read them.

    Attributes:
        folded: where it is not empty, the gallery is shown on request, under these words.
    """

    panels: tuple[Panel, ...]
    caption: str
    folded: str = ""

    @property
    def width(self) -> float:
        """That of its widest panel."""
        return max((panel.width for panel in self.panels), default=350.0)


@dataclass(frozen=True)
class TextTable:
    """A table of texts."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    folded: str = ""


Block = Text | Gallery | TextTable


@dataclass(frozen=True)
class Section:
    """A numbered part of the report; it is there even where the records hold nothing for it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """The whole report.

    Attributes:
        heading: the answer in at most 12 words.
        cautions: what has to be known before it is cited; the first `OPEN_CAUTIONS` are shown, the others on request.
        summary: what is shown under the heading: a figure and tables.
        subject: one line that says what was run.
        files: what lies beside the page: (path, what it is).
    """

    title: str
    heading: str
    cautions: tuple[str, ...]
    subject: str
    summary: tuple[Block, ...]
    sections: tuple[Section, ...]
    files: tuple[tuple[str, str], ...] = ()

    @property
    def open_cautions(self) -> tuple[str, ...]:
        """Those that are shown."""
        return self.cautions[:OPEN_CAUTIONS]

    @property
    def folded_cautions(self) -> tuple[str, ...]:
        """The others."""
        return self.cautions[OPEN_CAUTIONS:]

    def panels(self) -> list[Panel]:
        """Every figure, in order."""
        blocks = [*self.summary, *(block for section in self.sections for block in section.blocks)]
        galleries = [block for block in blocks if isinstance(block, Gallery)]
        return [panel for gallery in galleries for panel in gallery.panels]


def file_name(section: str, number: int, label: str) -> str:
    """A name for a figure that is one of its own, safe as a file name and as an id: `losses-03-e4m3`."""
    text = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")[:40].strip("-")
    return f"{section}-{number:02d}-{text}".rstrip("-")


def table_of(
    columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "", folded: str = ""
) -> TextTable:
    """A table whose cells are shown as `shown` has them, without the columns in which no row has anything."""
    kept = [index for index in range(len(columns)) if any(row[index] not in (None, "") for row in rows)]
    lines = tuple(tuple(shown(row[index]) for index in kept) for row in rows)
    return TextTable(tuple(columns[index] for index in kept), lines, caption, folded)


def shown(value: object) -> str:
    """A value for people: four decimals at most, a dash where there is none."""
    if value is None or value == "":
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"
    return str(value)
