"""Studies made up on the disk, in a moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from altgrad_core.experiments.study.study import Study
from tests.experiments.made_up import Made, write_study


@pytest.fixture
def made() -> type[Made]:
    """A cell to be made up."""
    return Made


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a study to the disk."""
    return lambda cells, place="study", **plan: write_study(tmp_path / place, cells, **plan)


@pytest.fixture
def study(write: Callable[..., Path]) -> Callable[..., Study]:
    """Writes a study to the disk and reads it."""
    return lambda cells, **plan: Study.read(write(cells, **plan))


@pytest.fixture
def grid_of_cells() -> Callable[..., list[Made]]:
    """Cells of two optimizers whose losses follow from what one gains over the other in each format.

    `gains` maps a format to what `manifold-adamw` gains over `adamw`. Each seed has a level of its own that pairs
    share, and a small difference that they do not; the loss grows with the distance from the middle rate.
    """

    def cells(
        gains: Mapping[str, float], *, seeds: Sequence[int] = range(1, 7), rates: Sequence[float] = (0.01, 0.1, 1.0),
        noise: float = 0.01, best: float = 0.1,
    ) -> list[Made]:  # fmt: skip
        found = []
        drawn = {(i, seed): Random(f"{i} {seed}").gauss() for i in range(len(gains)) for seed in seeds}
        for index, (format, gain) in enumerate(gains.items()):
            for optimizer in ("adamw", "manifold-adamw"):
                for rate in rates:
                    for seed in seeds:
                        own = noise * (drawn[index, seed] - sum(drawn[index, other] for other in seeds) / len(seeds))
                        level = 2.0 + 0.1 * math.cos(seed) + 0.05 * abs(math.log10(rate / best))
                        won = gain + own if optimizer != "adamw" else 0.0
                        plain = {} if optimizer == "adamw" else {"plain_lr": rate}  # as the baseline has it
                        found.append(Made(format, optimizer, rate, seed, level - won, options=plain))
        return found

    return cells
