"""The last thing a run prints: how it ended, in numbers, and where everything is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from altgrad_core.cli.console import Console
from altgrad_core.cli.terminal import say
from altgrad_core.errors import RunError
from altgrad_core.manifest.recipe_schema import UNQUANTIZED_NAME
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.files import read_json
from altgrad_core.running.session.outcome import Outcome


def print_outcome(outcome: Outcome, *, as_json: bool) -> None:
    """The summary on stdout, or for an interrupted run the command that continues it, on stderr."""
    if outcome.status == "interrupted":
        say(f"saved; continue with: altgrad resume {outcome.directory}", err=True)
    if as_json:
        facts = {"status": outcome.status, "directory": str(outcome.directory), "summary": outcome.ending.summary}
        print(json.dumps(facts))
    elif outcome.ending.summary:
        _print_summary(outcome)


def _print_summary(outcome: Outcome) -> None:
    console = Console()
    summary = outcome.ending.summary
    step = summary["step"]
    console.print(f"[bold]{summary['name']}[/]: {outcome.status} after {step} steps", highlight=False)
    if summary["reason"]:
        console.print(summary["reason"], highlight=False, markup=False)
    if outcome.exit_code:
        for line in _what_broke(outcome):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in _rows(summary):
        table.add_row(name, escape(value))
    console.print(table)
    console.print(f"records and checkpoints: {outcome.directory}", highlight=False, soft_wrap=True)


def _what_broke(outcome: Outcome) -> Iterator[str]:
    """Where a number that is not finite appeared first, if one did, and how to see more."""
    try:
        broke = read_json(RunDirectory(outcome.directory).failure_data)["broke"]
        role = f" ({broke['role']})" if broke["role"] else ""
        yield f"broke first: step {broke['step']}, {broke['phase']}, {broke['layer']}{role}: {broke['what']}"
    except (OSError, RunError, KeyError, TypeError):
        pass  # nothing broke, or the report of it is damaged
    yield f"see: altgrad diagnose {outcome.directory}"


def _rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, unit, what = summary["data"], summary["task"]["unit"], summary["task"]["counts"]
    rows = [
        ("validation loss", _number(summary["validation_loss"], unit)),
        *((name, _number(value)) for name, value in summary["metrics"].items()),
        *_evaluations(summary.get("evaluations", {}), unit),
        ("training loss", _number(summary["loss"], unit)),
        ("unigram entropy of the text", _number(data.get("unigram_entropy"), unit)),
        *_references(data.get("reference_losses", {}), unit),
        ("lowest possible loss", _number(data.get("loss_floor"), unit)),
        ("parameters", f"{summary['parameters']:,}"),
        (what, "" if summary["tokens"] is None else f"{summary['tokens']:,}"),
        ("seconds", f"{summary['seconds_in_this_process']:.1f}"),
        ("formats", ", ".join(facts["name"] for facts in summary["formats"]) or "none"),
        ("format switches", str(summary["switches"]) if summary["switches"] else ""),
        ("skipped steps", str(summary["skipped_steps"]) if summary["skipped_steps"] else ""),
    ]
    return [(name, value) for name, value in rows if value]


def _evaluations(losses: Mapping[str, Any], unit: str) -> Iterator[tuple[str, str]]:
    """The losses of the trained weights under other recipes, those without any rounding first."""
    for name, loss in sorted(losses.items(), key=lambda item: (item[0] != UNQUANTIZED_NAME, item[0])):
        yield "evaluated unquantized" if name == UNQUANTIZED_NAME else f"evaluated under {name}", _number(loss, unit)


def _references(losses: Mapping[str, float], unit: str) -> Iterator[tuple[str, str]]:
    """The losses of simple predictors, the highest first: a summary that was read back has its keys in another order."""
    for name, loss in sorted(losses.items(), key=lambda item: -item[1]):
        yield f"loss of a {name}", _number(loss, unit)


def _number(value: Any, unit: str = "") -> str:
    if value is None:
        return ""
    return f"{float(value):.4f} {unit}".strip()
