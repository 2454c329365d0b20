"""Computes every number of the text on rounding after training from its table.

    python docs/results/post-training/analysis.py               # prints the tables of the text
    python docs/results/post-training/analysis.py --write       # also writes them there, and tables/contrasts.csv
    python docs/results/post-training/analysis.py --collect DIR # writes tables/losses.csv from the directory of the study

The damage of a recipe is the validation loss with weights that were rounded after training, less that of the same weights without
rounding. Contrasts and intervals are those of `factorial/contrasts.py`, over seeds.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "factorial"))
from contrasts import Contrast, Losses, contrast, interval, mean, with_table, write

TABLES = Path(__file__).parent / "tables"
TEXT = Path(__file__).parents[1] / "README.md"
MARK = "<!-- rounding after training, by analysis.py -->\n"
COLUMNS = ("steps", "seed", "recipe", "loss", "cell")
PLAIN = "unquantized"
RECIPES = ("e4m3", "e3m2", "e2m1-block32", "e2m1", "e1m2")
FEW, MANY = 500, 8000  # steps that the registered hypothesis compares
BEFORE = 4000  # steps; whether the rounded model is worse at the end than here


def rows(study: Path) -> Iterator[tuple[Any, ...]]:
    """The losses of every cell that finished, in the order of the study."""
    for cell in json.loads((study / "cells.json").read_text())["cells"]:
        summary = study / cell["name"] / "summary.json"
        ended = json.loads(summary.read_text()) if summary.exists() else {}
        for recipe, loss in ended.get("evaluations", {}).items():
            yield cell["manifest"]["run"]["steps"], cell["manifest"]["run"]["seed"], recipe, loss, cell["name"]


def losses(table: Path = TABLES / "losses.csv") -> dict[tuple[str, int], dict[int, float]]:
    """The loss of every seed, by recipe and steps."""
    result: dict[tuple[str, int], dict[int, float]] = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            result.setdefault((row["recipe"], int(row["steps"])), {})[int(row["seed"])] = float(row["loss"])
    return result


def damages(found: Mapping[tuple[str, int], Losses]) -> dict[tuple[str, int], Losses]:
    """What rounding adds to the loss of every seed, by recipe and steps."""
    return {
        (recipe, steps): {seed: loss - found[PLAIN, steps][seed] for seed, loss in by_seed.items()}
        for (recipe, steps), by_seed in found.items()
        if recipe != PLAIN
    }


def first_fitted(damage: Mapping[tuple[str, int], Losses], recipe: str) -> int:
    """The fewest steps from which on every damage of a recipe is above zero, and has a logarithm."""
    points = {steps: min(by_seed.values()) for (name, steps), by_seed in damage.items() if name == recipe}
    unfit = [steps for steps, lowest in points.items() if lowest <= 0]
    return min(steps for steps in points if not unfit or steps > max(unfit))


def exponents(damage: Mapping[tuple[str, int], Losses], recipe: str) -> list[float]:
    """By seed, b of the power law damage = a steps^b, by least squares of the logarithms from `first_fitted` on."""
    first = first_fitted(damage, recipe)
    points = {steps: by_seed for (name, steps), by_seed in damage.items() if name == recipe and steps >= first}
    logs = np.log(list(points))
    seeds = sorted(next(iter(points.values())))
    return [float(np.polyfit(logs, np.log([by_seed[seed] for by_seed in points.values()]), 1)[0]) for seed in seeds]


def contrasts() -> list[Contrast]:
    """Growth of the damage of every recipe between two numbers of steps, changes of the rounded loss, then exponents."""
    found = losses()
    damage = damages(found)
    listed = []
    for recipe in RECIPES:
        more, less = damage[recipe, MANY], damage[recipe, FEW]
        listed.append(contrast(f"growth {recipe}", [more[seed] - less[seed] for seed in sorted(more)]))
        last, before = found[recipe, MANY], found[recipe, BEFORE]
        listed.append(contrast(f"change {recipe}", [last[seed] - before[seed] for seed in sorted(last)]))
    return listed + [contrast(f"exponent {recipe}", exponents(damage, recipe)) for recipe in RECIPES]


def markdown() -> str:
    """The tables of the text: damage by steps and recipe, then its growth."""
    found = losses()
    damage, listed = damages(found), {c.name: c for c in contrasts()}
    lines = [f"| steps | loss | {' | '.join(RECIPES)} |", "|---|---|" + "---|" * len(RECIPES)]
    for steps in sorted({steps for _, steps in found}):
        cells = [interval(contrast("", list(damage[recipe, steps].values()))) for recipe in RECIPES]
        lines.append(f"| {steps} | {mean(found[PLAIN, steps]):.3f} | {' | '.join(cells)} |")
    heads = [f"damage after {MANY} less after {FEW} steps", "p", f"rounded loss after {MANY} less after {BEFORE} steps"]
    lines += ["", f"| rounded to | {' | '.join(heads)} | exponent | fitted from |", "|---|---|---|---|---|---|"]
    for recipe in RECIPES:
        growth, power = listed[f"growth {recipe}"], listed[f"exponent {recipe}"]
        first = first_fitted(damage, recipe)
        change = interval(listed[f"change {recipe}"])
        lines.append(
            f"| {recipe} | {interval(growth)} | {growth.p:.3f} | {change} | {interval(power)} | {first} steps |"
        )
    return "\n".join(lines)


def embedded(text: str) -> str:
    """A text with the tables below the mark as they are computed now."""
    return with_table(text, MARK, markdown())


def main() -> None:
    """Collect, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the contrasts and the tables of the text too")
    parser.add_argument("--collect", type=Path, metavar="DIR", help="the directory of the study")
    given = parser.parse_args()
    if given.collect:
        with (TABLES / "losses.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(given.collect))
    print(markdown())
    if given.write:
        write(TABLES / "contrasts.csv", contrasts())
        TEXT.write_text(embedded(TEXT.read_text()))


if __name__ == "__main__":
    main()
