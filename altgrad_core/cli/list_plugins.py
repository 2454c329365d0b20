"""`altgrad list-plugins`: everything installed, and what could not be loaded and why."""

from __future__ import annotations

import json as json_module
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import wrap
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from altgrad_core.cli.names import complete_kind
from altgrad_core.cli.options import JsonOption
from altgrad_core.cli.terminal import say
from altgrad_core.errors import ManifestError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from altgrad_core.contracts.options import Options
    from altgrad_core.registry.registry import Registry

SLOW_SECONDS = 0.5
UNBROKEN = "\N{NO-BREAK SPACE}"
CORE = "altgrad"  # the distribution whose name needs not be told


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Option(help="Only this kind, with a description of each plugin.", autocompletion=complete_kind),
    ] = None,
    json: JsonOption = False,
) -> None:
    """List every installed plugin by kind, and broken plugins with the reason."""
    from altgrad_core.registry.kinds import KINDS
    from altgrad_core.registry.registry import installed

    wanted_kind = kind.lower().removesuffix("s") if kind else None
    if wanted_kind is not None and wanted_kind not in KINDS:
        raise ManifestError(f"--kind {kind}: no such kind; one of {', '.join(KINDS)}")
    rows = plugin_rows(installed(), wanted_kind)
    if json:
        print(json_module.dumps(rows, indent=2))
        return
    _print_table(rows) if wanted_kind else _print_overview(rows)
    for row in (row for row in rows if row["status"] == "broken"):
        _print_broken(row)


def plugin_rows(registry: Registry, kind: str | None) -> list[dict[str, Any]]:
    """One row for everything installed, then one for every broken plugin."""
    rows: list[dict[str, Any]] = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "plugin": entry.plugin.name,
            "distribution": entry.plugin.distribution,
            "version": entry.plugin.version,
            "status": "ok",
            "summary": entry.summary,
            **({} if entry.kind == "format" else {"options": options_of(entry.item)}),
            **_slowness(entry.plugin.loads_torch, entry.plugin.seconds),
        }
        for entry in registry
        if kind in (None, entry.kind)
    ]
    rows += [
        {
            "kind": None,
            "name": None,
            "plugin": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "status": "broken",
            "reason": plugin.broken,
        }
        for plugin in registry.broken
    ]
    return rows


def options_of(spec: type[Options]) -> dict[str, dict[str, Any]]:
    """The type and default of every option, as a manifest would spell them."""
    return {name: {"type": _spelled(field.annotation), **_default(field)} for name, field in spec.model_fields.items()}


def _spelled(annotation: Any) -> str:
    """A type in words: the choices of a literal, and no modules."""
    parts = [part for part in get_args(annotation) if part is not type(None)]
    if get_origin(annotation) is Literal:
        return " or ".join(repr(part) for part in parts)
    if get_origin(annotation) in (UnionType, Union):
        return " or ".join(_spelled(part) for part in parts)
    if get_origin(annotation) is Annotated:
        return _spelled(parts[0])
    if get_origin(annotation) is list:
        return f"list of {_spelled(parts[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _default(field: FieldInfo) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    return {"required": True} if field.is_required() else {"default": to_jsonable_python(field.default)}


def _slowness(loads_torch: bool, seconds: float) -> dict[str, str]:
    if loads_torch:
        return {"warning": "its entry-point module imports torch, which slows every command"}
    return {"warning": f"it took {seconds:.1f} s to load"} if seconds > SLOW_SECONDS else {}


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from altgrad_core.cli.console import Console

    console = Console()
    table = Table("kind", "name", "distribution", "what it is", box=None, pad_edge=False)
    previous = None
    for row in (row for row in rows if row["status"] == "ok"):
        shown = "" if row["kind"] == previous else row["kind"]
        previous = row["kind"]
        summary = escape(row["summary"]) + (f" [yellow]({row['warning']})[/]" if "warning" in row else "")
        table.add_row(
            f"[bold]{shown}[/]", f"[cyan]{row['name']}[/]", f"{row['distribution']} {row['version']}", summary
        )
    console.print(table)


def _print_overview(rows: list[dict[str, Any]]) -> None:
    """The names of every kind; those of other distributions with where they are from.

    Rich would lay it out as well, and takes a tenth of the time of the command to load.
    """
    sound = [row for row in rows if row["status"] == "ok"]
    by_kind = {kind: [row for row in sound if row["kind"] == kind] for kind in dict.fromkeys(r["kind"] for r in sound)}
    titles = {kind: f"{kind} ({len(own)})" for kind, own in by_kind.items()}
    margin = max(map(len, titles.values()), default=0) + 2
    across = max(get_terminal_size().columns - margin, 20)
    for kind, own in by_kind.items():
        names = [f"{row['name']}{_origin(row)}".replace(" ", UNBROKEN) for row in own]
        lines = wrap(", ".join(names), across, break_on_hyphens=False)
        for title, line in zip_longest([titles[kind]], lines, fillvalue=""):
            say(f"{title:{margin}}{line.replace(UNBROKEN, ' ')}")
    for row in (row for row in sound if "warning" in row):
        say(f"{row['name']}: {row['warning']}")
    say("\naltgrad list-plugins --kind KIND describes each plugin; altgrad show NAME prints its options")


def _origin(row: dict[str, Any]) -> str:
    return "" if row["distribution"] == CORE else f" ({row['distribution']} {row['version']})"


def _print_broken(row: dict[str, Any]) -> None:
    from rich.markup import escape

    from altgrad_core.cli.console import Console

    source = f"{row['distribution']} {row['version']} ({row['plugin']})"
    Console().print(f"[red]broken[/] {escape(source)}: {escape(row['reason'])}", highlight=False, soft_wrap=True)
