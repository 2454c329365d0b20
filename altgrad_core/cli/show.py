"""`altgrad show FORMAT`: the facts and the table of a number format."""

from __future__ import annotations

import json as json_module
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altgrad_core.cli.options import JsonOption

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format

MOST_ROWS = 256
COLUMNS = 8


def show(
    format: Annotated[str, typer.Argument(help="A format, such as e4m3.")],
    json: JsonOption = False,
) -> None:
    """Show the facts of FORMAT and the value of each of its codes."""
    from altgrad_core.registry.registry import installed

    found: Format = installed().get("format", format)
    facts = format_facts(found)
    if json:
        table = [] if found.is_identity else [_spelled(value) for value in found.table]
        print(json_module.dumps({**facts, "table": table}, indent=None))
    else:
        _print_facts(found, facts)


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
    from rich.console import Console
    from rich.table import Table

    console = Console()
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
        table.add_row(f"{start} 0x{start:02x}", *(f"{value:.6g}" for value in row))
    console.print()
    console.print(table)
