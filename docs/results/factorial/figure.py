"""Draws gains.svg: the gain over AdamW of every step on every kind of weights, with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

LOOK = {"fp32": ("#000000", "s"), "e4m3": ("#0072b2", "o"), "e0m7": ("#d55e00", "^"), "e7m0": ("#009e73", "D")}
STEPS = ("RMS", "shuffled", "E4M3 line", "own line")


def draw(found: Mapping[int, Sequence[Any]], path: Path) -> None:
    """One panel for each number of training steps.

    Args:
        found: contrasts, among them gains named `weights, step`, by number of training steps.
    """
    figure, panels = pyplot.subplots(1, len(found), figsize=(3.6 * len(found) + 0.8, 3.4), squeeze=False)
    for axes, (length, contrasts) in zip(panels[0], found.items(), strict=True):
        for index, (weights, (colour, marker)) in enumerate(LOOK.items()):
            arms = {
                c.name.partition(", ")[2]: c for c in contrasts if c.name.startswith(weights) and " - " not in c.name
            }
            places = [place for place, step in enumerate(STEPS) if step in arms]
            chosen = [arms[STEPS[place]] for place in places]
            means = [c.mean for c in chosen]
            ends = [[c.mean - c.low for c in chosen], [c.high - c.mean for c in chosen]]
            at = [place + (index - 1.5) * 0.16 for place in places]
            axes.errorbar(at, means, ends, fmt=marker, ms=4, color=colour, capsize=2, lw=1, label=f"{weights} weights")
        axes.axhline(0, color="grey", lw=0.8)
        axes.set_xticks(range(len(STEPS)), STEPS)
        axes.set_title(f"{length} steps", fontsize=10)
        axes.tick_params(labelsize=8)
    panels[0][0].set_ylabel("loss with AdamW less loss, nats per byte", fontsize=8)
    panels[0][0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    with pyplot.rc_context({"svg.hashsalt": "gains", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
