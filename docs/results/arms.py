"""What the scripts of the results share: losses by arm from the cells of a report, contrasts of arms, and tables in a page.

A table of cells is `tables/cells.csv` as `altgrad report` writes it, one row for each cell. An arm is what a question compares: an
optimizer, a format, a variant. A seed of an arm is judged at the rate that is best on average over its other seeds, of the rates
that all of them tried. Contrasts and intervals are those of `factorial/contrasts.py`.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

sys.path.append(str(Path(__file__).parent / "factorial"))
from contrasts import Contrast, Losses, chosen, contrast, interval, mean, with_table, write

Arm = TypeVar("Arm", bound=Hashable)
Row = Mapping[str, str]
Tables = Mapping[str, Callable[[], str]]
"""By the name in its mark, what computes a table of a page."""

__all__ = ["Contrast", "Losses", "Row", "Tables", "cells_of", "chosen", "contrast", "difference", "embedded", "interval", "judged",
           "keep", "main", "mean", "tried", "variant_of", "verdict", "write"]  # fmt: skip


def cells_of(table: Path) -> list[Row]:
    """The rows of a table of cells."""
    with table.open() as file:
        return list(csv.DictReader(file))


def variant_of(row: Row) -> str:
    """The variant in the name of a cell, without its seed, steps, rate and hash."""
    name = re.sub(r"-[0-9a-f]{8}$", "", row["cell"])
    return "-".join(part for part in name.split("-") if not re.fullmatch(r"(seed|steps|lr)[\d.]+", part))


def tried(rows: Sequence[Row], arm_of: Callable[[Row], Arm | None]) -> dict[Arm, dict[float, dict[int, float]]]:
    """Losses by arm, rate and seed, infinite for a run that diverged; rows without an arm are left out."""
    found: dict[Arm, dict[float, dict[int, float]]] = {}
    for row in rows:
        if (arm := arm_of(row)) is not None:
            loss = float(row["validation_loss"]) if row["status"] == "finished" else math.inf
            found.setdefault(arm, {}).setdefault(float(row["rate"]), {})[int(row["seed"])] = loss
    return found


def judged(rows: Sequence[Row], arm_of: Callable[[Row], Arm | None]) -> dict[Arm, Losses]:
    """The loss of every seed of an arm at the rate that its other seeds choose."""
    return {arm: chosen(rates) for arm, rates in tried(rows, arm_of).items()}


def difference(name: str, one: Losses, other: Losses) -> Contrast:
    """One less the other, seed by seed; both have the same seeds."""
    assert one.keys() == other.keys(), name
    return contrast(name, [one[seed] - other[seed] for seed in sorted(one)])


def verdict(c: Contrast) -> str:
    """What the interval of a registered difference says of "it is above zero"."""
    if c.low > 0:
        return "holds"
    return "does not hold" if c.high < 0 else "cannot be told here"


def keep(study: Path, table: Path, further: Mapping[str, Row] | None = None) -> None:
    """Copy the cells of a study that was reported, without columns that depend on the machine.

    Args:
        further: by cell, more columns.
    """
    rows = [{**row, **(further or {}).get(row["cell"], {})} for row in cells_of(study / "tables" / "cells.csv")]
    names = [name for name in rows[0] if name not in {"seconds", "identity", "perplexity", "reason", "role"}]
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def mark_of(name: str) -> str:
    """The line of a page below which the table of a name stands."""
    return f"<!-- {name}, by analysis.py -->\n"


def embedded(text: str, tables: Tables) -> str:
    """A page with the tables below their marks as they are computed now."""
    for name, compute in tables.items():
        text = with_table(text, mark_of(name), compute())
    return text


def main(
    page: Path, told: str, tables: Tables, contrasts: Callable[[], Sequence[Contrast]],
    further: Callable[[Path], Mapping[str, Row]] = lambda study: {},
) -> None:  # fmt: skip
    """Print the tables of a page, and write them and the contrasts if asked to.

    Args:
        page: the text; `tables/` beside it has the cells of its studies.
        told: the help of the script.
        further: more columns for the cells of a study that is collected.
    """
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--write", action="store_true", help="write the tables of the page too, and tables/contrasts.csv"
    )
    parser.add_argument(
        "--collect", type=Path, nargs="*", default=[], metavar="DIR", help="directories of reported studies"
    )
    given = parser.parse_args()
    for study in given.collect:
        keep(study, page.parent / "tables" / f"{study.name}.csv", further(study))
    if given.write:
        write(page.parent / "tables" / "contrasts.csv", contrasts())
        page.write_text(embedded(page.read_text(), tables))
    print("\n\n".join(compute() for compute in tables.values()))
