"""`altgrad show NAME`: the facts and the table of a number format; the options of anything else."""

from __future__ import annotations

import json as json_module
import math
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altgrad_core.cli.list_plugins import options_of
from altgrad_core.cli.options import JsonOption
from altgrad_core.cli.terminal import say

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format
    from altgrad_core.registry.registry import Entry

MOST_ROWS = 256
COLUMNS = 8


def show(
    name: Annotated[str, typer.Argument(help="A format, such as e4m3; or any other plugin, such as manifold-adamw.")],
    json: JsonOption = False,
) -> None:
    """Show the facts of a format and the value of each of its codes; of anything else, what it is and its options."""
    from altgrad_core.registry.registry import installed

    others = [entry for entry in installed() if entry.name == name.lower() and entry.kind != "format"]
    if others and name.lower() not in installed().names("format"):
        _show_options(others[0], as_json=json)
        return
    found: Format = installed().get("format", name)
    facts = format_facts(found)
    if json:
        table = [] if found.is_identity else [_spelled(value) for value in found.table]
        print(json_module.dumps({**facts, "table": table}, indent=None))
    else:
        _print_facts(found, facts)


def _show_options(entry: Entry, *, as_json: bool) -> None:
    """The docstring and the options of an optimizer, monitor, intervention, model, layer, data set or tracker."""
    options = options_of(entry.item)
    if as_json:
        print(json_module.dumps({"kind": entry.kind, "name": entry.name, "summary": entry.summary, "options": options}))
        return
    say(f"{entry.kind} {entry.name} ({entry.plugin.source})\n\n{cleandoc(entry.item.__doc__ or '')}\n")
    for option, facts in options.items():
        default = "required" if "required" in facts else f"default {json_module.dumps(facts['default'])}"
        say(f"{option:<20} {facts['type']}, {default}")


def format_facts(format: Format) -> dict[str, Any]:
    """What defines a format, and what follows from it."""
    facts = format.facts()
    if format.is_identity:
        return facts
    grid, table = format.grid, format.table
    return {
        **facts,
        "largest": grid.highest,
        "lowest": grid.lowest,
        "smallest_positive": grid.smallest_positive,
        "rungs": len(grid),
        "nans": sum(math.isnan(value) for value in table),
        "infinities": sum(math.isinf(value) for value in table),
        "negative_zero": grid.negative_zero is not None,
        "binades": round(math.log2(grid.largest / grid.smallest_positive), 2),
        "sha256": format.digest,
    }


def _spelled(value: float) -> float | str:
    """A number, or the name of what JSON has no number for."""
    return value if math.isfinite(value) else repr(value)


def _print_facts(format: Format, facts: dict[str, Any]) -> None:
    from rich.table import Table

    from altgrad_core.cli.console import Console

    console = Console()
    console.width = max(console.width, 120)  # a table of numbers is not cut; it may wrap
    console.print(f"[bold]{format.name}[/]")
    listed = Table(box=None, pad_edge=False, show_header=False)
    for key, value in facts.items():
        listed.add_row(key.replace("_", " "), str(value))
    console.print(listed)
    if format.is_identity:
        return
    if len(format.table) > MOST_ROWS:
        console.print(f"\n{len(format.table)} codes; altgrad show {format.name} --json prints them all")
        return
    table = Table("code", *(f"+{column}" for column in range(COLUMNS)), box=None, pad_edge=False)
    for start in range(0, len(format.table), COLUMNS):
        row = format.table[start : start + COLUMNS]
        table.add_row(f"{start} 0x{start:02x}", *(f"{value:.9g}" for value in row))
    console.print()
    console.print(table)
