"""Computes every number of the text on a fair AdamW from its tables.

    python docs/results/fair-adamw/analysis.py               # prints the tables of the text
    python docs/results/fair-adamw/analysis.py --write       # also writes them there, and tables/contrasts.csv
    python docs/results/fair-adamw/analysis.py --collect DIR # writes tables/cells.csv from the directory of the study
    python docs/results/fair-adamw/analysis.py --collect DIR --to confirmation # writes tables/confirmation.csv instead
                                                             # or `controls`, `controls-confirmation`

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
CONTROLS = {"own": "E4M3 line", "shuffled": "shuffled", "rms": "RMS"}  # by the spacings that a step takes
OTHERS = {"adamw": "AdamW", "adamw-relative": "relative AdamW"}
SETTING = ("lr", "beta1", "beta2", "weight_decay")
COLUMNS = ("weights", "step", "rate", *SETTING[1:], "warmup", "other_rate", "seed", "status", "validation_loss", "cell")
SEARCHES = (1, 4, 16, 32)
SEARCHED = ("cells", "controls")
CONFIRMED = ("confirmation", "controls-confirmation")
MARKS = {
    "cells": "<!-- fair AdamW, by analysis.py -->\n",
    "confirmation": "<!-- fair AdamW, confirmed, by analysis.py -->\n",
    "controls": "<!-- controls of the line, by analysis.py -->\n",
    "controls-confirmation": "<!-- controls of the line, confirmed, by analysis.py -->\n",
}

Tried = Mapping[str, Mapping[float, Losses]]  # by step, then by rate, which tells settings apart


def rows(study: Path) -> Iterator[tuple[Any, ...]]:
    """The cells that ended, in the order of the study."""
    for cell in json.loads((study / "cells.json").read_text())["cells"]:
        summary = study / cell["name"] / "summary.json"
        ended = json.loads(summary.read_text()) if summary.exists() else {}
        if ended.get("status") in ("finished", "diverged"):
            manifest = cell["manifest"]
            optimizer, weights = manifest["optimizer"], manifest["recipe"][0]["weight"]["format"]
            (group,) = optimizer["group"]
            step = OTHERS.get(group["use"]) or CONTROLS[group["spacing"]]
            yield (
                weights, step, *(group[key] for key in SETTING), optimizer["schedule"]["warmup"],
                optimizer["lr"], manifest["run"]["seed"], ended["status"], ended["validation_loss"], cell["name"],
            )  # fmt: skip


def settings_of(table: Path) -> dict[tuple[str, float], Mapping[str, str]]:
    """By step and rate, which tells settings apart, a row with the whole setting."""
    with table.open() as file:
        return {(row["step"], float(row["rate"])): row for row in csv.DictReader(file)}


def expected_best(tried: Mapping[float, Losses], count: int) -> float:
    """The expected lowest mean loss of `count` settings drawn without replacement; infinite if all of them can diverge."""
    means = sorted(mean(losses) for losses in tried.values())
    lowest_in = [
        math.comb(len(means) - 1 - rank, count - 1) for rank in range(len(means))
    ]  # of how many draws it is the best
    total = math.comb(len(means), count)
    return math.fsum(loss * many / total for loss, many in zip(means, lowest_in, strict=True) if many)


def best_of(tried: Mapping[float, Losses]) -> float:
    """The rate of the setting with the lowest mean loss."""
    return min(tried, key=lambda rate: mean(tried[rate]))


def searched(name: str) -> tuple[Tried, Mapping[tuple[str, float], Mapping[str, str]]]:
    """What a search on E4M3 weights tried, and the whole settings. The first step is the one that others are compared with.

    The search of the controls is compared with the line of E4M3 from the first search.
    """
    table = TABLES / f"{name}.csv"
    tried, settings = {step: rates for (_, step), rates in losses_by_rate(table).items()}, settings_of(table)
    if name == "controls":
        line, first = CONTROLS["own"], TABLES / "cells.csv"
        tried, settings = {line: losses_by_rate(first)["e4m3", line], **tried}, {**settings_of(first), **settings}
    return tried, settings


def search_table(name: str) -> str:
    """Losses after searches of several sizes, and of the best setting, each seed at the setting of the others."""
    tried, settings = searched(name)
    sizes = " | ".join(f"{n} settings" if n > 1 else "1 setting" for n in SEARCHES)
    lines = [f"| step | {sizes} | seeds at the setting of the others |", "|---|" + "---|" * (1 + len(SEARCHES))]
    held = {step: chosen(rates) for step, rates in tried.items()}
    for step, rates in tried.items():
        expected = " | ".join(f"{expected_best(rates, n):.3f}".replace("inf", "can diverge") for n in SEARCHES)
        lines.append(f"| {step} | {expected} | {mean(held[step]):.3f} |")
    names = ("rate", "β1", "β2", "weight decay", "warm-up", "rate elsewhere")
    lines += ["", f"| step | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for step, rates in tried.items():
        row = settings[step, best_of(rates)]
        keys = ("rate", "beta1", "beta2", "weight_decay", "warmup", "other_rate")
        lines.append(f"| {step} | {' | '.join(f'{float(row[key]):.4g}' for key in keys)} |")
    base, *others = tried
    lines += ["", f"| {base} less another step | mean |", "|---|---|"]
    for step in others:
        differences = [held[base][seed] - loss for seed, loss in held[step].items()]
        lines.append(f"| {step} | {interval(contrast(step, differences))} |")
    return "\n".join(lines)


def fixed(name: str) -> dict[tuple[str, str], Losses]:
    """The losses of each step at its only setting, by weights and step."""
    return {arm: next(iter(tried.values())) for arm, tried in losses_by_rate(TABLES / f"{name}.csv").items()}


def confirmed(name: str) -> dict[str, Contrast]:
    """Gains over the first step at the settings that the search found, on other seeds, and their differences between weights."""
    found = fixed(name)
    base, *others = dict.fromkeys(step for _, step in found)
    listed: dict[str, list[float]] = {}
    for weights in ("fp32", "e4m3"):
        for step in others:
            losses = found[weights, base]
            listed[f"{weights}: {step}"] = [losses[seed] - loss for seed, loss in found[weights, step].items()]
    for step in others:
        pairs = zip(listed[f"e4m3: {step}"], listed[f"fp32: {step}"], strict=True)
        listed[f"{step}: e4m3 - fp32"] = [own - plain for own, plain in pairs]
    return {title: contrast(title, differences) for title, differences in listed.items()}


def confirmation_table(name: str) -> str:
    """Losses and gains at fixed settings."""
    found = fixed(name)
    steps = list(dict.fromkeys(step for _, step in found))
    lines = [f"| weights | {' | '.join(steps)} |", "|---|" + "---|" * len(steps)]
    for weights in ("fp32", "e4m3"):
        lines.append(f"| {weights} | {' | '.join(f'{mean(found[weights, step]):.3f}' for step in steps)} |")
    lines += ["", f"| gain over {steps[0]} | mean | p |", "|---|---|---|"]
    lines += [f"| {title} | {interval(c)} | {c.p:.3f} |" for title, c in confirmed(name).items()]
    return "\n".join(lines)


def made(name: str) -> str:
    """The tables of the text that come from a table of cells."""
    return search_table(name) if name in SEARCHED else confirmation_table(name)


def embedded(text: str) -> str:
    """A text with the tables below its marks as they are computed now."""
    for name, mark in MARKS.items():
        text = with_table(text, mark, made(name))
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
    for name in MARKS:
        if (TABLES / f"{name}.csv").exists():
            print(made(name), end="\n\n")
    if given.write:
        write(TABLES / "contrasts.csv", [c for name in CONFIRMED for c in confirmed(name).values()])
        TEXT.write_text(embedded(TEXT.read_text()))


if __name__ == "__main__":
    main()
