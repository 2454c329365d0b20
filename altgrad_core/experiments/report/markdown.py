"""The markdown twin of the page: the same words, figures by their files."""

from __future__ import annotations

import re
from collections.abc import Sequence

from altgrad_core.experiments.report.blocks import Block, Gallery, Page, Section, Text, TextTable


def as_markdown(page: Page) -> str:
    """The whole report."""
    lines = [f"# {inline(page.heading)}", ""]
    for block in page.summary:
        lines += [*_block(block), ""]
    if page.cautions:
        lines += ["**Cautions**", "", *(f"- {inline(caution)}" for caution in page.cautions), ""]
    lines += [inline(page.subject), ""]
    for number, section in enumerate(page.sections, 1):
        lines += _section(number, section)
    if page.files:
        lines += ["## Files", "", *(f"- [{inline(path)}]({path}): {inline(what)}" for path, what in page.files), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def inline(text: str) -> str:
    """Text on one line in which nothing is markup."""
    flat = re.sub(r"\s+", " ", "".join(letter if letter.isprintable() else " " for letter in text)).strip()
    escaped = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", flat)
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", re.sub(r"^([-+=]|#+)(?=\s|$)", r"\\\1", escaped))


def _section(number: int, section: Section) -> list[str]:
    lines = [f"## {number}. {inline(section.title)}", ""]
    for block in section.blocks:
        lines += [*_block(block), ""]
    return lines


def _block(block: Block) -> list[str]:
    if isinstance(block, Text):
        return [f"> {inline(block.text)}" if block.kind == "caution" else inline(block.text)]
    if isinstance(block, TextTable):
        caption = [inline(block.caption), ""] if block.caption else []
        return [*caption, *_table(block.columns, block.rows)]
    return _gallery(block)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [
        "| " + " | ".join(cell if index == 1 else inline(cell) for cell in line) + " |"
        for index, line in enumerate(lines)
    ]


def _gallery(gallery: Gallery) -> list[str]:
    images = [f"![{inline(panel.alt)}](figures/{panel.name}.svg)" for panel in gallery.panels]
    return [*images, "", f"*{inline(gallery.caption)}*"]
