"""`altgrad show NAME`: the facts and the table of a number format; the options of anything else."""

from __future__ import annotations

import json as json_module
import math
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any

import typer

from altgrad_core.cli.list_plugins import options_of
from altgrad_core.cli.names import complete_plugin
from altgrad_core.cli.options import JsonOption
from altgrad_core.cli.terminal import say

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format
    from altgrad_core.registry.registry import Entry

MOST_ROWS = 256
BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"  # from no value to the most, in a column
WIDTH = 72
COLUMNS = 8


def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A format, such as e4m3; or any other plugin, such as manifold-adamw.", autocompletion=complete_plugin
        ),
    ],
    other: Annotated[
        str | None, typer.Argument(help="Another format, to compare the two.", autocompletion=complete_plugin)
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the facts and values of a format, or two formats side by side, or the options of another plugin."""
    from altgrad_core.registry.registry import installed

    if other is not None:
        formats = [installed().get("format", each) for each in (name, other)]
        both = [format_facts(each) for each in formats]
        print(json_module.dumps(both)) if json else _print_both(formats, both)
        return
    _refuse_unknown(name)
    others = [entry for entry in installed() if entry.name == name.lower() and entry.kind != "format"]
    if others and name.lower() not in installed().names("format"):
        _show_options(others[0], as_json=json)
        return
    result: Format = installed().get("format", name)
    facts = format_facts(result)
    if json:
        table = [] if result.is_identity else [_spelled(value) for value in result.table]
        print(json_module.dumps({**facts, "table": table}, indent=None))
    else:
        _print_facts(result, facts)


def _refuse_unknown(name: str) -> None:
    """Guess at a name among all kinds; a format is looked for first."""
    from difflib import get_close_matches

    from altgrad_core.errors import PluginError
    from altgrad_core.registry.registry import installed

    known = {entry.name: entry.kind for entry in reversed(list(installed()))}
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if name.lower() not in known and near and known[near[0]] != "format":
        raise PluginError(f'no plugin is called "{name}"; did you mean the {known[near[0]]} "{near[0]}"?')


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


def _print_both(formats: list[Format], facts: list[dict[str, Any]]) -> None:
    """The facts of two formats side by side, and the number line of each."""
    from rich.table import Table

    from altgrad_core.cli.console import Console

    console = Console()
    table = Table("", *(format.name for format in formats), box=None, pad_edge=False)
    for key in dict.fromkeys(key for each in facts for key in each):
        if key not in ("name", "sha256"):
            table.add_row(key.replace("_", " "), *(str(each.get(key, "-")) for each in facts))
    console.print(table)
    for format in (each for each in formats if not each.is_identity):
        console.print(f"\n{format.name}\n{number_line(format, WIDTH)}", highlight=False)


def number_line(format: Format, width: int) -> str:
    """How densely the values lie from the lowest to the highest, in `width` columns of equal range, and both ends."""
    values = format.grid.values
    low, high = values[0], values[-1]
    counts = [0] * width
    for value in values:
        counts[min(width - 1, int((value - low) / (high - low) * width))] += 1
    most = max(counts)
    bars = "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
    ends = f"{low:g}".ljust(width - len(f"{high:g}")) + f"{high:g}"
    return f"{bars}\n{ends}"


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
    console.print(f"\n{number_line(format, WIDTH)}", highlight=False)
    if len(format.table) > MOST_ROWS:
        console.print(f"\n{len(format.table)} codes; altgrad show {format.name} --json prints them all")
        return
    table = Table("code", *(f"+{column}" for column in range(COLUMNS)), box=None, pad_edge=False)
    for start in range(0, len(format.table), COLUMNS):
        row = format.table[start : start + COLUMNS]
        table.add_row(f"{start} 0x{start:02x}", *(f"{value:.9g}" for value in row))
    console.print()
    console.print(table)
