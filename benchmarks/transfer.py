"""Does one learning rate serve every format? Rates in rungs, in binades and in real units, swept for eight formats.

    python benchmarks/transfer.py             # train what is missing, a line per run: about an hour on one core
    python benchmarks/transfer.py --report    # what was found

A GPT of two layers learns bytes of the prose that comes with Python. Only the format of the weights of its blocks
varies: activations are E4M3, gradients E5M2 rounded stochastically. The rate that is swept is theirs; embeddings and
norms take AdamW at 5e-3 in every run. No weight decay. A seed gives the initial weights, the batches and the rounding,
so runs are paired over formats and rates. The first seed tries all rates; then all seeds those around its best ones, a
factor of 2 ** 0.5 apart, and the rate that served all formats best. Two variants of the walk take its best rates.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from findings import (
    BINADES,
    COMPARED,
    CONTROLS,
    FORMATS,
    RANKED,
    RATES,
    REFERENCE,
    SEEDS,
    Finished,
    best,
    curve,
    near_best,
    report,
)
from small_gpt import Training

RESULTS = Path(__file__).parent / "results" / "transfer.jsonl"
STEPS, WARMUP, PLAIN_LR = 250, 20, 5e-3
DIVERGED = 3 * math.log(256)


@dataclass(frozen=True)
class Cell:
    """One run."""

    way: str
    format: str
    rate: float
    seed: int


def optimizer(way: str, rate: float) -> dict[str, Any]:
    """What builds the optimizer of a way."""
    if way == "adamw":
        return {
            "name": "adamw",
            "lr": PLAIN_LR,
            "groups": [{"layers": "blocks.*", "only": "matrices", "lr": rate}],
        }
    return {"name": "manifold-adamw", "lr": rate, "plain_lr": PLAIN_LR, **CONTROLS.get(way, {})}


def schedule(step: int) -> float:
    """Linear warm-up, then half a cosine to zero; steps count from 1."""
    if step <= WARMUP:
        return step / WARMUP
    return 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


def run(cell: Cell) -> dict[str, Any]:
    """Train, and say what came of it."""
    began, losses = time.perf_counter(), []
    format = None if cell.format == REFERENCE else cell.format
    training = Training(format, optimizer(cell.way, cell.rate), seed=cell.seed)
    for number in range(1, STEPS + 1):
        losses.append(training.backward())
        if not losses[-1] <= DIVERGED:
            break
        training.update(schedule(number))
    validation = training.validation() if losses[-1] <= DIVERGED else math.nan
    diverged = not validation <= DIVERGED
    return {
        **asdict(cell),
        "diverged": diverged,
        "steps": len(losses),
        "validation": None if diverged else validation,
        "training": None if diverged else sum(losses[-20:]) / 20,
        "seconds": round(time.perf_counter() - began, 2),
    }


def rung_size(format: str) -> float:
    """The root mean square of the spacing at the initial weights: a rung in real units."""
    training = Training(format, optimizer("walk", 0.1), seed=SEEDS[0])
    training.backward()  # the forward pass sets the scales
    grids = [(param.tensor, param.geometry) for param in training.plan.params() if param.geometry is not None]
    return float(torch.cat([grid.spacing(weight).flatten() for weight, grid in grids]).square().mean().sqrt())


def cells(finished: Finished) -> Iterator[Cell]:
    """Every run of the experiment; what is tried around the best rates follows from what the first seed found."""
    for way, rates in RATES.items():
        yield from (Cell(way, format, rate, SEEDS[0]) for format in FORMATS for rate in rates)
    yield from (Cell("adamw", REFERENCE, rate, SEEDS[0]) for rate in RATES["adamw"])
    for seed in SEEDS:
        for way, format in RANKED:
            yield from (Cell(way, format, rate, seed) for rate in near_best(finished, way, format))
    for format in COMPARED:
        rate = best(curve(finished, BINADES, format, SEEDS))
        yield from (Cell(way, format, rate, seed) for way in CONTROLS for seed in SEEDS)


def read() -> Finished:
    """What was trained so far."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    found = (json.loads(line) for line in lines)
    return {(line["way"], line["format"], line["rate"], line["seed"]): line for line in found}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--report", action="store_true", help="print what was found")
    given = options.parse_args()
    finished = read()
    if given.report:
        print(report(finished, {format: rung_size(format) for format in COMPARED}))
        return
    torch.set_num_threads(1)
    RESULTS.parent.mkdir(exist_ok=True)
    for cell in cells(finished):
        key = (cell.way, cell.format, cell.rate, cell.seed)
        if key in finished:
            continue
        finished[key] = run(cell)
        with RESULTS.open("a") as file:
            file.write(json.dumps(finished[key]) + "\n")


if __name__ == "__main__":
    main()
