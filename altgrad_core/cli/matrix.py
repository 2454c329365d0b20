"""`altgrad run` and `altgrad check` of a manifest with `[matrix]`: its cells, and what a person sees of them."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.table import Table

from altgrad_core.cli.cells import shown_on
from altgrad_core.cli.console import Console
from altgrad_core.cli.display import Display
from altgrad_core.cli.terminal import say
from altgrad_core.cli.written import in_words
from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.executor import Executor
from altgrad_core.contracts.layer import PRODUCT
from altgrad_core.experiments.evidence.power import POWER, detectable
from altgrad_core.experiments.matrix.cell import Cell
from altgrad_core.experiments.matrix.cells import SEED, Matrix
from altgrad_core.experiments.matrix.endings import directory_of, endings_in, under_way_in
from altgrad_core.experiments.matrix.estimate import estimate
from altgrad_core.experiments.matrix.plan import plan_of
from altgrad_core.experiments.matrix.registration import hash_of
from altgrad_core.experiments.report.unchanged import note, said_before, state_of
from altgrad_core.experiments.report.write import PAGE, write_report
from altgrad_core.experiments.workers.scheduler import StudyOutcome, train_cells
from altgrad_core.manifest.merge import dotted, location_of
from altgrad_core.records.directory import RunDirectory
from altgrad_core.results.catalogue import loss, progress
from altgrad_core.running.assembly.environment import choose_device

MOST_ROWS = 12


def run_matrix(
    matrix: Matrix, study: Path, *, executor: Executor, overwrite: bool, display: Display
) -> Callable[[bool], int]:
    """Train every cell; a function that prints what came of it, as JSON if asked, and returns the exit code."""
    for device in _devices(matrix):
        executor.check_device(device)
    outcome = train_cells(matrix, study, executor=executor, overwrite=overwrite, show=shown_on(display))
    said = None
    if outcome.signal is None:
        display.doing("checking whether the report is up to date")
        said = _reported(matrix, study, outcome, display)

    def finish(as_json: bool) -> int:
        _print_end(matrix, study, outcome, said, as_json=as_json)
        return outcome.exit_code

    return finish


def _reported(matrix: Matrix, study: Path, outcome: StudyOutcome, display: Display) -> str:
    """Write the report, unless every cell has ended and nothing has changed since it was written; what it says."""
    has_ended = sum(outcome.board.ended.values()) == outcome.board.cells
    state = state_of(study, outcome.names, matrix.origin) if has_ended else None
    if state is not None and (said := said_before(study, state)) is not None:
        return said
    display.doing("drawing the report")
    said = in_words(write_report(study))
    if state is not None:
        note(study, state, said)
    return said


def _print_end(matrix: Matrix, study: Path, outcome: StudyOutcome, said: str | None, *, as_json: bool) -> None:
    if outcome.signal is not None:
        say(f"saved; continue with: {_as_given(study)}", err=True)
    for name, reason in outcome.failed.items():
        say(f"failed: {name}: {reason}", err=True)
    if as_json:
        data = {"ended": dict(outcome.board.ended), "failed": outcome.failed, "directory": str(study)}
        print(json.dumps({**data, "cells": outcome.board.cells, "report": str(study / PAGE) if said else None}))
        return
    say(_summary(matrix, outcome))
    say(f"{said}report: {study / PAGE}" if said else f"records: {study}")


def _as_given(study: Path) -> str:
    """The command as it was given, with the directory of the study: it trains the same cells."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--json")]
    return shlex.join(["altgrad", *words, *(() if "--out" in words else ("--out", str(study)))])


def print_cells(matrix: Matrix, *, as_json: bool) -> None:
    """The cells that are known before anything is trained."""
    if "executor" not in matrix.source.data:  # else a cell runs elsewhere, and its device is checked there
        for device in _devices(matrix):
            choose_device(device)
    cells = matrix.cells({})
    if as_json:
        print(json.dumps(plan_of(matrix, cells), indent=2))
        return
    table = Table("cell", *dict.fromkeys(axis for cell in cells for axis in cell.labels), box=None, pad_edge=False)
    axes = [str(column.header) for column in table.columns][1:]
    for cell in cells[:MOST_ROWS]:
        table.add_row(cell.identity[:8], *(str(cell.labels.get(axis, "-")) for axis in axes))
    console = Console()
    console.print(table)
    if len(cells) > MOST_ROWS:
        console.print(f"... and {len(cells) - MOST_ROWS} more", highlight=False)
    say(f"\n{matrix.name}: {len(cells)} cells{_more(matrix)}")


def _devices(matrix: Matrix) -> set[str]:
    """The devices that cells ask for."""
    return {cell.device for cell in matrix.cells({})}


def print_registration(matrix: Matrix) -> None:
    """Whether the study confirms a hypothesis, and the hash by which its manifest can be published beforehand."""
    if matrix.table.confirms is None:
        say("exploratory: it declares no hypothesis (matrix.confirms)")
    else:
        say(f"confirmatory: {matrix.table.confirms.hypothesis}")
        say(f"SHA-256 of the manifest: {hash_of(matrix)}")


def print_power(matrix: Matrix) -> None:
    """What the study can show: the smallest effect it detects, in the scatter that its pairs will have."""
    seeds = len(matrix.seeds)
    factor, margin = detectable(seeds), matrix.table.margin
    if factor is None:
        print(f"{seeds} seed{'s' if seeds > 1 else ''}: too few to judge an effect; 3 are needed")
        return
    print(
        f"{seeds} seeds: detects, in {100 * POWER:.0f} % of studies, a mean difference of {factor:.2f} standard deviations of "
        "the paired differences"
    )
    if margin is not None:
        print(f"the margin, {margin:g}, is detected where that standard deviation is at most {margin / factor:.2g}")


def print_estimate(matrix: Matrix) -> None:
    """What the known cells will take, by a few measured steps."""
    cells = matrix.cells({})
    result, bound = estimate(matrix, cells), matrix.bound()
    say(
        f"about {_duration(result.seconds)} in one process like this one, and {result.bytes / 1e6:.0f} MB of checkpoints kept "
        f"(by a few steps of {result.measured} cells)"
    )
    if bound > len(cells):
        times = bound / len(cells)
        most = f"{_duration(result.seconds * times)} and {result.bytes * times / 1e6:.0f} MB"
        say(f"with all cells that the search may add, {bound} cells: at most about {most}")


def print_table(matrix: Matrix, study: Path) -> None:
    """Every combination but for seeds and rates: its formats, layer by layer, and how many of its cells have ended."""
    endings = endings_in(matrix, study)
    rows: dict[tuple[str, ...], Counter[str]] = {}
    cells = matrix.cells(endings)
    search = matrix.table.search
    left_out = {SEED, dotted(location_of(search.key)) if search is not None else SEED}
    axes = [axis for axis in dict.fromkeys(axis for cell in cells for axis in cell.labels) if axis not in left_out]
    now = under_way_in(study, [cell for cell in cells if cell.name not in endings])
    rules = dict[str, str]()
    for cell in cells:
        recipe = json.dumps(cell.manifest["recipe"])
        if recipe not in rules:
            rules[recipe] = _rules(cell)
        row = (*(str(cell.labels.get(axis, "-")) for axis in axes), rules[recipe])
        ended = endings.get(cell.name)
        status = ended.status if ended else "training" if cell.name in now else _unended(directory_of(cell, study))
        rows.setdefault(row, Counter())[status] += 1
    statuses = list(dict.fromkeys(status for counts in rows.values() for status in counts))
    table = Table(*axes, "recipe (weight, activation, gradient)", "cells", *statuses, box=None, pad_edge=False)
    for row, counts in rows.items():
        table.add_row(*row, str(counts.total()), *(str(counts[status]) for status in statuses))
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    for name, listed in list(now.items())[:MOST_ROWS]:
        say(f"training: {name}, {progress(listed)}, loss {loss(listed.loss)}")
    if len(now) > MOST_ROWS:
        say(f"... and {len(now) - MOST_ROWS} more that train now")


def _unended(directory: RunDirectory) -> str:
    return "unfinished" if directory.is_begun else "not begun"


def _rules(cell: Cell) -> str:
    """The recipe of a cell, a rule after the other."""
    rules = cell.resolved.rules
    parts = [
        f"{rule.layers}: "
        + ", ".join("-" if (q := getattr(rule, role)) is None else q.target.name for role in PRODUCT)
        + "".join(
            f", {role} {q.target.name}"
            for role in ROLES
            if role not in PRODUCT and (q := getattr(rule, role)) is not None
        )
        for rule in rules
    ]
    return "; ".join(parts) or "unquantized"


def _duration(seconds: float) -> str:
    return (
        f"{seconds / 3600:.1f} h"
        if seconds >= 5400
        else f"{seconds / 60:.0f} min"
        if seconds >= 90
        else f"{seconds:.0f} s"
    )


def _more(matrix: Matrix) -> str:
    search = matrix.table.search
    adds = search is not None and (search.keep is not None or search.bisections)
    return ", and cells that the search adds as others end" if adds else ""


def _summary(matrix: Matrix, outcome: StudyOutcome) -> str:
    board = outcome.board
    counts = Counter(board.ended) + Counter({"failed": len(outcome.failed)})
    text = ", ".join(f"{count} {status}" for status, count in counts.items()) or "none ended"
    return f"{matrix.name}: {board.cells} cells: {text}"
