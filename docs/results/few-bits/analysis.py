"""Computes every number of the text on few bits from its table: damage, gains, and their differences.

    python docs/results/few-bits/analysis.py               # prints the table of the text
    python docs/results/few-bits/analysis.py --write       # also writes it there, and tables/contrasts.csv
    python docs/results/few-bits/analysis.py --collect DIR # writes tables/cells.csv from the directories of the studies
    python docs/results/few-bits/analysis.py --collect DIR --to confirmation # writes tables/confirmation.csv instead

A seed is judged at the rate that is best on average over the other seeds, of the rates that all seeds tried. The damage of a
format is the loss with AdamW on weights in it less that on weights that are not quantized, of the same seed. Gains, contrasts
and intervals are those of `factorial/contrasts.py`.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "factorial"))
from contrasts import Contrast, Losses, chosen, contrast, gains, interval, losses_by_rate, mean, with_table, write

TABLES = Path(__file__).parent / "tables"
TEXT = Path(__file__).parents[1] / "README.md"
MARKS = {
    "cells": "<!-- few bits, by analysis.py -->\n",
    "confirmation": "<!-- few bits, confirmed, by analysis.py -->\n",
}
"""By table, the line in the text below which its numbers stand."""
CONTRASTS = {"cells": "contrasts.csv", "confirmation": "confirmation-contrasts.csv"}
COLUMNS = ("weights", "step", "rate", "seed", "status", "validation_loss", "seconds", "cell")
WEIGHTS = ("fp32", "e3m2", "e2m1", "e2m1 block:32", "e1m2", "e3m0")
STEPS = ("E4M3 line", "E4M3 line with a floor", "own line", "RMS")
PAIRS = (
    ("E4M3 line with a floor", "E4M3 line"), ("own line", "E4M3 line"), ("own line", "E4M3 line with a floor"),
    ("RMS", "E4M3 line"), ("RMS", "own line"),
)  # fmt: skip


def rows(study: Path) -> Iterator[tuple[Any, ...]]:
    """The cells that ended, in the order of the study."""
    for cell in json.loads((study / "cells.json").read_text())["cells"]:
        summary = study / cell["name"] / "summary.json"
        told = json.loads(summary.read_text()) if summary.exists() else {}
        if told.get("status") in ("finished", "diverged"):
            manifest = cell["manifest"]
            (group,) = manifest["optimizer"]["group"]
            place = (weights_of(manifest["recipe"][0]["weight"]), step_of(group))
            yield (
                *place, group["lr"], manifest["run"]["seed"], told["status"], told["validation_loss"],
                told["seconds_in_this_process"], cell["name"],
            )  # fmt: skip


def step_of(group: Mapping[str, Any]) -> str:
    """What the step of a resolved optimizer table is called: `AdamW`, or one of `STEPS`."""
    if group["use"] == "adamw":
        return "AdamW"
    if group["spacing"] == "rms":
        return "RMS"
    if group.get("geometry") != "e4m3":
        return "own line"
    return "E4M3 line with a floor" if group.get("floor") else "E4M3 line"


def weights_of(operand: Mapping[str, Any]) -> str:
    """What the weights are stored in: `e2m1`, or `e2m1 block:32` where 32 elements share a scale."""
    name = operand["format"]
    name = name if isinstance(name, str) else f"e{name['exponent_bits']}m{name['mantissa_bits']}"
    return name if operand["granularity"] == "tensor" else f"{name} {operand['granularity']}"


def losses_of(table: Path) -> dict[tuple[str, str], Losses]:
    """The loss of every seed at the rate that is chosen for it, by weights and step."""
    return {arm: losses for arm, tried in losses_by_rate(table).items() if (losses := chosen(tried))}


def contrasts_of(table: Path) -> dict[str, Contrast]:
    """By name: the damage of weights, the gain of a step on them, and that gain less the one on unquantized weights."""
    found = losses_of(table)
    gained = gains(found)
    plain = found.get(("fp32", "AdamW"), {})
    listed = {}
    for weights in WEIGHTS:
        adamw = found.get((weights, "AdamW"), {})
        if weights != "fp32" and adamw.keys() == plain.keys() and adamw:
            listed[f"damage {weights}"] = [adamw[seed] - plain[seed] for seed in adamw]
        for step in STEPS:
            gain, base = gained.get((weights, step), {}), gained.get(("fp32", step), {})
            if gain:
                listed[f"{step} {weights}"] = list(gain.values())
            if weights != "fp32" and gain and gain.keys() == base.keys():
                listed[f"{step}: {weights} - fp32"] = [gain[seed] - base[seed] for seed in gain]
        for one, other in PAIRS:
            first, second = gained.get((weights, one), {}), gained.get((weights, other), {})
            if first and first.keys() == second.keys():
                listed[f"{weights}: {one} - {other}"] = [first[seed] - second[seed] for seed in first]
                base = listed.get(f"fp32: {one} - {other}", [])
                if weights != "fp32" and len(base) == len(first):
                    own = listed[f"{weights}: {one} - {other}"]
                    listed[f"{one} - {other}: {weights} - fp32"] = [a - b for a, b in zip(own, base, strict=True)]
    return {name: contrast(name, differences) for name, differences in listed.items()}


def markdown(table: Path) -> str:
    """The tables of the text: losses and gains by weights, then the differences."""
    found, listed = losses_of(table), contrasts_of(table)
    lines = [f"| weights | AdamW | damage | {' | '.join(STEPS)} |", "|---|" + "---|" * (2 + len(STEPS))]
    for weights in WEIGHTS:
        if losses := found.get((weights, "AdamW")):
            keys = (f"damage {weights}", *(f"{step} {weights}" for step in STEPS))
            cells = [interval(c) if (c := listed.get(key)) else "" for key in keys]
            lines.append(f"| {weights} | {mean(losses):.3f} | {' | '.join(cells)} |")
    lines += ["", "| difference of gains | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in listed.items() if " - " in name]
    return "\n".join(lines)


def embedded(text: str) -> str:
    """A text with the tables below its marks as they are computed now."""
    for name, mark in MARKS.items():
        text = with_table(text, mark, markdown(TABLES / f"{name}.csv"))
    return text


def main() -> None:
    """Collect, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the contrasts and the table of the text too")
    parser.add_argument("--collect", type=Path, nargs="+", metavar="DIR", help="the directories of the studies")
    parser.add_argument("--to", choices=MARKS, default="cells", help="the table that is collected")
    given = parser.parse_args()
    if given.collect:
        with (TABLES / f"{given.to}.csv").open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for study in given.collect:
                writer.writerows(rows(study))
    for name in MARKS:
        print(markdown(TABLES / f"{name}.csv"), end="\n\n")
        if given.write:
            write(TABLES / CONTRASTS[name], list(contrasts_of(TABLES / f"{name}.csv").values()))
    if given.write:
        TEXT.write_text(embedded(TEXT.read_text()))


if __name__ == "__main__":
    main()
