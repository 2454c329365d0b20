"""How far weights go in one step, in rungs: the spread over weights, over the spread of Adam's own direction.

    python benchmarks/rungs.py [--steps 300]

A small GPT is trained in each format and mode; then one step is looked at. A cell is the coefficient of variation of
|u(after) - u(before)| over all quantized weights, in float64 at the scale in force, over that of |d|: d is the direction
of plain Adam moments that are kept beside every run, of the same gradients. 1 means that weights go by as many rungs as
Adam's direction says, wherever they stand on their grid. No weight decay.
"""

from __future__ import annotations

import argparse
import math
from typing import Any, NamedTuple

import torch
from small_gpt import Training, splits
from torch import Tensor

import altgrad_core as ag

FORMATS = ("e0m7", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
PLAIN_LR, WARMUP = 5e-3, 20
ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}


class Mode(NamedTuple):
    """Options of manifold-adamw, and rates of the size that trains well."""

    name: str
    options: dict[str, Any]
    rates: tuple[float, ...]


MODES = (
    Mode("`rungs`", {"precondition": "rungs"}, (0.025, 0.1)),
    Mode("`walk = linear`", {"precondition": "rungs", "walk": "linear"}, (0.025, 0.1)),
    Mode("`moments = carried`", {"precondition": "rungs", "moments": "carried"}, (0.025, 0.1)),
    Mode("`gradient`", {"precondition": "gradient"}, (0.001, 0.004)),
    Mode("`off`", {"precondition": "off"}, (0.001, 0.004)),
)


class Watched(Training):
    """A training with plain Adam moments beside it."""

    def __init__(self, format: str, mode: Mode, rate: float) -> None:
        chosen = {"name": "manifold-adamw", "lr": rate, "plain_lr": PLAIN_LR, **mode.options}
        super().__init__(format, chosen, seed=0, layers=1, width=32)
        self.grids = {param.tensor: param.geometry for param in self.plan.params() if param.geometry is not None}
        self.moments: dict[Tensor, dict[str, Any]] = {weight: {} for weight in self.grids}

    def directions(self) -> list[Tensor]:
        """Adam's direction of every quantized weight, for the gradients at hand."""
        for weight, state in self.moments.items():
            ag.begin_moments(state, weight)
        return [ag.adam_direction(w.grad, state, **ADAM) for w, state in self.moments.items() if w.grad is not None]

    def positions(self) -> list[Tensor]:
        """The rung position of every quantized weight, at the scale of the last forward pass."""
        return [grid.position(weight) for weight, grid in self.grids.items()]


def spread(parts: list[Tensor]) -> float:
    """The coefficient of variation of the magnitudes of all elements."""
    magnitudes = torch.cat([part.detach().double().abs().flatten() for part in parts])
    return float(magnitudes.std() / magnitudes.mean())


def spread_over_adams(format: str, mode: Mode, rate: float, steps: int) -> float:
    """Train, and look at the last step."""
    training = Watched(format, mode, rate)
    for number in range(1, steps):
        training.backward()
        training.directions()
        training.update(min(1.0, number / WARMUP))
    training.backward()
    intended, before = training.directions(), training.positions()
    training.update(1.0)
    moved = [after - was for after, was in zip(training.positions(), before, strict=True)]
    return spread(moved) / spread(intended)


def shown(ratio: float) -> str:
    """A cell."""
    return f"{ratio:.2f}" if math.isfinite(ratio) else "diverged"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=300)
    given = options.parse_args()
    torch.set_num_threads(1)
    splits()
    print(f"| mode | rate | {' | '.join(FORMATS)} |")
    print("|---|---|" + "---|" * len(FORMATS), flush=True)
    exact = []
    for mode in MODES:
        for rate in mode.rates:
            row = [spread_over_adams(format, mode, rate, given.steps) for format in FORMATS]
            exact += row if mode is MODES[0] else []
            print(f"| {mode.name} | {rate:g} | {' | '.join(map(shown, row))} |", flush=True)
    print(f"\n`rungs` is at most {max(abs(ratio - 1) for ratio in exact):.1g} from 1.")


if __name__ == "__main__":
    main()
