"""The page of readings: every number that a monitor reports, with the facts by which it is judged."""

from __future__ import annotations

import re
from inspect import cleandoc

from altgrad_core.contracts.reading import SHARE, Reading
from altgrad_core.registry.registry import installed

_ITEM = re.compile(r"^- ((?:`[\w-]+`(?:, )?)+): (.*(?:\n  .*)*)", re.MULTILINE)
INTRODUCTION = """# Readings

A monitor reports numbers by layer under these names. Interventions read them, `altgrad diagnose` names the layers that are
beyond the limit, and a report draws them. A run itself also has `loss`, `relative-loss`, `gradient-norm`, `learning-rate`,
`validation-loss` and the metrics of its task, for the whole model.
"""


def readings_page() -> str:
    """One table over all monitors that come with AltGrad."""
    rows = ["| reading | monitor | what it is | unit | worse | limit |", "|---|---|---|---|---|---|"]
    for entry in installed():
        if entry.kind == "monitor" and entry.plugin.distribution == "altgrad":
            link = f"[`{entry.name}`](plugins.md#monitor-{entry.name})"
            told = meanings(cleandoc(entry.item.__doc__ or ""))
            rows += [_row(reading, link, told.get(reading.name, reading.label)) for reading in entry.item.declared()]
    return INTRODUCTION + "\n" + "\n".join(rows) + "\n"


def meanings(docstring: str) -> dict[str, str]:
    """What the list in the docstring of a monitor says of each reading, by name."""
    items = _ITEM.findall(docstring)
    return {name: " ".join(text.split()) for names, text in items for name in re.findall(r"`([\w-]+)`", names)}


def _row(reading: Reading, monitor: str, meaning: str) -> str:
    unit = "share, 0 to 1" if reading.unit == SHARE else reading.unit
    meaning = meaning.replace("|", "\\|")
    limit = "" if reading.limit is None else f"{reading.limit:g}"
    return f"| `{reading.name}` | {monitor} | {meaning} | {unit} | {reading.worse or ''} | {limit} |"
