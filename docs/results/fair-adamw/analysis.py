"""Computes every number of the text on a fair AdamW from its tables.

    python docs/results/fair-adamw/analysis.py               # prints the tables of the text
    python docs/results/fair-adamw/analysis.py --write       # also writes them there, and tables/contrasts.csv
    python docs/results/fair-adamw/analysis.py --collect DIR # writes tables/cells.csv from the directory of the study
    python docs/results/fair-adamw/analysis.py --collect DIR --to confirmation # writes tables/confirmation.csv instead

Each seed is judged at the setting that is best on average over the other seeds. How much a search of n settings helps is the
expected lowest mean over n settings drawn without replacement from those that were tried (the expected validation performance
of Dodge et al., 1909.03004). Contrasts and intervals are those of `factorial/contrasts.py`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "factorial"))
from contrasts import Contrast, Losses, chosen, contrast, interval, losses_by_rate, mean, with_table, write

TABLES = Path(__file__).parent / "tables"
TEXT = Path(__file__).parents[1] / "README.md"
STEPS = {"adamw": "AdamW", "adamw-relative": "relative AdamW", "manifold-adamw": "E4M3 line"}
SETTING = ("lr", "beta1", "beta2", "weight_decay")
COLUMNS = ("weights", "step", "rate", *SETTING[1:], "warmup", "other_rate", "seed", "status", "validation_loss", "cell")
SEARCHES = (1, 4, 16, 32)
MARKS = {
    "cells": "<!-- fair AdamW, by analysis.py -->\n",
    "confirmation": "<!-- fair AdamW, confirmed, by analysis.py -->\n",
}


def rows(study: Path) -> Iterator[tuple[Any, ...]]:
    """The cells that ended, in the order of the study."""
    for cell in json.loads((study / "cells.json").read_text())["cells"]:
        summary = study / cell["name"] / "summary.json"
        ended = json.loads(summary.read_text()) if summary.exists() else {}
        if ended.get("status") in ("finished", "diverged"):
            manifest = cell["manifest"]
            optimizer, weights = manifest["optimizer"], manifest["recipe"][0]["weight"]["format"]
            (group,) = optimizer["group"]
            yield (
                weights, STEPS[group["use"]], *(group[key] for key in SETTING), optimizer["schedule"]["warmup"],
                optimizer["lr"], manifest["run"]["seed"], ended["status"], ended["validation_loss"], cell["name"],
            )  # fmt: skip


def settings_of(table: Path) -> dict[tuple[str, float], Mapping[str, str]]:
    """By step and rate, which tells settings apart, a row with the whole setting."""
    with table.open() as file:
        return {(row["step"], float(row["rate"])): row for row in csv.DictReader(file)}


def expected_best(tried: Mapping[float, Losses], count: int) -> float:
    """The expected lowest mean loss of `count` settings drawn without replacement."""
    means = sorted(mean(losses) for losses in tried.values())
    total = math.comb(len(means), count)
    return math.fsum(loss * math.comb(len(means) - 1 - rank, count - 1) / total for rank, loss in enumerate(means))


def best_of(tried: Mapping[float, Losses]) -> float:
    """The rate of the setting with the lowest mean loss."""
    return min(tried, key=lambda rate: mean(tried[rate]))


def search_table(table: Path) -> str:
    """Losses after searches of several sizes, and of the best setting, each seed at the setting of the others."""
    tried, settings = losses_by_rate(table), settings_of(table)
    sizes = " | ".join(f"{n} settings" if n > 1 else "1 setting" for n in SEARCHES)
    lines = [f"| step | {sizes} | seeds at the setting of the others |", "|---|" + "---|" * (1 + len(SEARCHES))]
    held = {step: chosen(tried["e4m3", step]) for step in STEPS.values()}
    for step in STEPS.values():
        expected = " | ".join(f"{expected_best(tried['e4m3', step], n):.3f}" for n in SEARCHES)
        lines.append(f"| {step} | {expected} | {mean(held[step]):.3f} |")
    names = ("rate", "β1", "β2", "weight decay", "warm-up", "rate elsewhere")
    lines += ["", f"| step | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for step in STEPS.values():
        row = settings[step, best_of(tried["e4m3", step])]
        keys = ("rate", "beta1", "beta2", "weight_decay", "warmup", "other_rate")
        lines.append(f"| {step} | {' | '.join(f'{float(row[key]):.4g}' for key in keys)} |")
    lines += ["", "| AdamW less another step | mean |", "|---|---|"]
    lines += [
        f"| {step} | {interval(contrast(step, [held['AdamW'][seed] - loss for seed, loss in held[step].items()]))} |"
        for step in list(STEPS.values())[1:]
    ]
    return "\n".join(lines)


def confirmed(table: Path) -> dict[str, Contrast]:
    """Gains over AdamW at the settings that the search found, on other seeds, and their differences between weights."""
    found = {arm: next(iter(tried.values())) for arm, tried in losses_by_rate(table).items()}
    listed: dict[str, list[float]] = {}
    for weights in ("fp32", "e4m3"):
        for step in list(STEPS.values())[1:]:
            base = found[weights, "AdamW"]
            listed[f"{weights}: {step}"] = [base[seed] - loss for seed, loss in found[weights, step].items()]
    for step in list(STEPS.values())[1:]:
        pairs = zip(listed[f"e4m3: {step}"], listed[f"fp32: {step}"], strict=True)
        listed[f"{step}: e4m3 - fp32"] = [own - plain for own, plain in pairs]
    return {name: contrast(name, differences) for name, differences in listed.items()}


def confirmation_table(table: Path) -> str:
    """Losses and gains at fixed settings."""
    found = {arm: next(iter(tried.values())) for arm, tried in losses_by_rate(table).items()}
    lines = [f"| weights | {' | '.join(STEPS.values())} |", "|---|" + "---|" * len(STEPS)]
    for weights in ("fp32", "e4m3"):
        lines.append(f"| {weights} | {' | '.join(f'{mean(found[weights, step]):.3f}' for step in STEPS.values())} |")
    lines += ["", "| gain over AdamW | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in confirmed(table).items()]
    return "\n".join(lines)


MADE_BY = {"cells": search_table, "confirmation": confirmation_table}


def embedded(text: str) -> str:
    """A text with the tables below its marks as they are computed now."""
    for name, mark in MARKS.items():
        text = with_table(text, mark, MADE_BY[name](TABLES / f"{name}.csv"))
    return text


def main() -> None:
    """Collect, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables of the text too")
    parser.add_argument("--collect", type=Path, metavar="DIR", help="the directory of the study")
    parser.add_argument("--to", choices=MARKS, default="cells", help="the table that is collected")
    given = parser.parse_args()
    if given.collect:
        with (TABLES / f"{given.to}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows(given.collect))
    for name, make in MADE_BY.items():
        if (table := TABLES / f"{name}.csv").exists():
            print(make(table), end="\n\n")
    if given.write:
        write(TABLES / "contrasts.csv", list(confirmed(TABLES / "confirmation.csv").values()))
        TEXT.write_text(embedded(TEXT.read_text()))


if __name__ == "__main__":
    main()
