"""The page of readings: every number that a monitor reports, with the facts by which it is judged."""

from __future__ import annotations

from altgrad_core.contracts.reading import SHARE, Reading
from altgrad_core.registry.registry import installed

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
            rows += [_row(reading, link) for reading in entry.item.declared()]
    return INTRODUCTION + "\n" + "\n".join(rows) + "\n"


def _row(reading: Reading, monitor: str) -> str:
    unit = "share, 0 to 1" if reading.unit == SHARE else reading.unit
    limit = "" if reading.limit is None else f"{reading.limit:g}"
    return f"| `{reading.name}` | {monitor} | {reading.label} | {unit} | {reading.worse or ''} | {limit} |"
