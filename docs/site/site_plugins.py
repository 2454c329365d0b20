"""The page of everything installed: formats with their facts, and every other plugin with its options."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

from site_manifest import key_rows

from altgrad_core.cli.schema import installed_schema
from altgrad_core.cli.show import format_facts
from altgrad_core.manifest.json_schema import KINDS as KIND_OF_TABLE
from altgrad_core.registry.registry import installed

TITLES = {
    "optimizer": "Optimizers",
    "monitor": "Monitors",
    "intervention": "Interventions",
    "model": "Models",
    "layer": "Layers",
    "dataset": "Data sets",
    "tracker": "Trackers",
    "executor": "Executors",
}
CORE = "altgrad"  # the site shows what comes with AltGrad, whatever else is installed where it is built
_FACTS = ("bits", "largest", "smallest_positive", "rungs", "nans", "infinities", "binades")


def plugins_page() -> str:
    """Formats, then every other kind."""
    entries = [entry for entry in installed() if entry.plugin.distribution == CORE]
    defs = installed_schema()["$defs"]
    tables = {kind: table for table, kind in KIND_OF_TABLE.items() if table != "group"}
    parts = [
        "# Formats and plugins\n\nEverything that comes with AltGrad. `altgrad show NAME` prints one of them.\n",
        _formats(entries),
    ]
    for kind, title in TITLES.items():
        parts.append(f"## {title}\n")
        for entry in (entry for entry in entries if entry.kind == kind):
            parts.append(_entry(entry, defs.get(f"{tables.get(kind, kind)}.{entry.name}")))
    return "\n".join(parts)


def _formats(entries: list[Any]) -> str:
    rows = []
    for entry in (entry for entry in entries if entry.kind == "format"):
        facts = format_facts(entry.item)
        shown = [f"{facts[key]:g}" if key in facts else "" for key in _FACTS]
        rows.append("| " + " | ".join([f"`{entry.name}`", entry.summary, *shown]) + " |")
    head = ["name", "what it is", *(key.replace("_", " ") for key in _FACTS)]
    return "\n".join(["## Formats\n", f"| {' | '.join(head)} |", "|---" * len(head) + "|", *rows, ""])


def _entry(entry: Any, schema: Any) -> str:
    about = cleandoc(entry.item.__doc__ or "").partition("\nOptions:\n")[0].partition("\nAttributes:\n")[0].strip()
    parts = [f"### {entry.name} {{ #{entry.kind}-{entry.name} }}\n", f"{about}\n"]
    options = entry.item.model_fields if schema else ()  # not the keys that all plugins of a kind share
    rows = [row for row in key_rows(schema) if row.split("`")[1] in options] if schema else []
    if rows:
        parts += ["| option | type | default | meaning |", "|---|---|---|---|", *rows, ""]
    return "\n".join(parts)
