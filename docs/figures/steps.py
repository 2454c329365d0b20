"""Draws docs/figures/steps.svg: one step of every mode of manifold-adamw, in rungs and in real units, over |w|.

    pip install -c constraints.txt matplotlib
    python docs/figures/steps.py [--png steps.png]

Nothing is drawn by formula. The weights of one layer in E4M3 are spread over 19 binades, all get the same gradient, and
the first step of the optimizer itself is measured.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

import altgrad_core as ag

matplotlib.use("svg")
from matplotlib import pyplot

OUT = Path(__file__).with_name("steps.svg")
LARGEST, BINADES, GRADIENT = 7.0 / 64, 19, 1e-3


class Mode(NamedTuple):
    """One curve."""

    label: str
    options: dict[str, Any]
    look: dict[str, Any]


MODES = (
    Mode("off (AdamW), lr = 0.001", {"precondition": "off", "lr": 1e-3}, {"color": "#999999", "lw": 5}),
    Mode("gradient, lr = 0.001", {"precondition": "gradient", "lr": 1e-3}, {"color": "#d55e00", "lw": 1.4}),
    Mode("rungs, walk = linear, 0.8 rungs", {"walk": "linear", "lr": 0.1}, {"color": "#56b4e9", "lw": 1.4}),
    Mode("rungs, 0.1 binades = 0.8 rungs", {"lr": 0.1}, {"color": "#004c7f", "lw": 2.4}),
)


def step(options: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The weights, and how far each goes in one step: in rungs and in real units."""
    layer = nn.Linear(6000, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(LARGEST * torch.logspace(-BINADES, 0, 6000, base=2.0))
    plan = ag.quantize_model(layer, [ag.Rule(layers="*", weight=ag.Quantizer("e4m3"))])
    (param,) = plan.params()
    optimizer = ag.build_optimizer("manifold-adamw", [param], weight_decay=0.0, **options)
    layer(torch.zeros(1, 6000))  # the forward pass sets the scale
    weight, grid = param.tensor, param.geometry
    assert grid is not None
    weight.grad = torch.full_like(weight, -GRADIENT)  # away from zero
    before, place = weight.detach().double(), grid.position(weight)
    optimizer.step()
    by_rungs, by_value = grid.position(weight) - place, weight.detach().double() - before
    return before.flatten(), by_rungs.flatten(), by_value.flatten()


def panel(axes: Axes, title: str) -> None:
    """What both panels have."""
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(2.0**-BINADES, 1)
    axes.set_xlabel("|w| / largest |w|")
    axes.grid(color="#e6e6e6", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw() -> pyplot.Figure:
    """Both panels."""
    figure, (rungs, real) = pyplot.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
    panel(rungs, "a. Step in rungs of E4M3")
    panel(real, "b. The same step in real units")
    rungs.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    for mode in MODES:
        weights, by_rungs, by_value = step(mode.options)
        rungs.plot(weights / LARGEST, by_rungs, label=mode.label, **mode.look)
        real.plot(weights / LARGEST, by_value, **mode.look)
    rungs.set_ylim(0.09, 110)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9, reverse=True)
    return figure


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--png", type=Path, help="draw this as well")
    given = options.parse_args()
    torch.set_num_threads(1)
    matplotlib.rcParams.update({"svg.hashsalt": "altgrad", "path.simplify_threshold": 0.2})
    figure = draw()
    figure.savefig(OUT, metadata={"Date": None})
    if given.png:
        figure.savefig(given.png, dpi=110)


if __name__ == "__main__":
    main()
