"""Weights that are held: elements that turn back too often stay where they were on average, whatever the optimizer does.

M. Nagel, M. Fournarakis, Y. Bondarenko, T. Blankevoort, "Overcoming oscillations in quantization-aware training", 2022
(arXiv 2203.11086), sections 3 and 4.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from altgrad_core.contracts.pattern import matches
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.model.plan import Plan

MOMENTUM = 0.01
"""The weight of the newest step in the moving averages."""


class Freezing:
    """Follows the weights of some layers from the step on at which it is asked to, and holds what oscillates.

    Of every element: the direction of its last flip, the moving average of reversals (a flip against the last one: 1,
    else 0; it begins with 0), that of its rounded value, and whether it is held. Once the first average exceeds a
    limit, the element is set to the rung nearest to the second one and stays there to the end of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._followed: dict[str, dict[str, Any]] = {}

    def follow(self, pattern: str, *, above: float) -> list[str]:
        """Follow the quantized weights of all matching layers that are not followed yet; their paths."""
        begun = []
        for path, operands in self._plan.layers.items():
            is_new = path not in self._followed and "weight" in operands and operands["weight"].quantizer.has_grid
            if is_new and matches(pattern, path):
                weight, geometry = self._weight(path), operands["weight"].geometry
                self._followed[path] = {
                    "above": above,
                    "direction": torch.zeros_like(weight, dtype=torch.int8),
                    "frequency": torch.zeros_like(weight, dtype=torch.float32),
                    "average": geometry.value(geometry.rung(weight)),
                    "held": torch.zeros_like(weight, dtype=torch.bool),
                }
                begun.append(path)
        return begun

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Around the optimizer's step: what is held afterwards is where it was, or where it is held from now on."""
        before = {path: self._weight(path).clone() for path in self._followed}
        rungs = {path: self._geometry(path).rung(weight) for path, weight in before.items()}
        yield
        for path, known in self._followed.items():
            weight = self._weight(path)
            weight.copy_(_settled(weight, (before[path], rungs[path]), known, geometry=self._geometry(path)))

    def held(self) -> int:
        """How many elements are held."""
        return sum(int(known["held"].sum()) for known in self._followed.values())

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """What is known of every layer that is followed."""
        return {path: dict(known) for path, known in self._followed.items()}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Restore what `state_dict` returned."""
        self._followed = {
            path: {
                name: value.to(self._weight(path).device) if isinstance(value, Tensor) else value
                for name, value in known.items()
            }
            for path, known in state.items()
        }

    def _weight(self, path: str) -> Tensor:
        weight = self._plan.weight(path)
        assert weight is not None  # only weights are followed
        return weight.detach()

    def _geometry(self, path: str) -> Geometry:
        return self._plan.layers[path]["weight"].geometry


def _settled(weight: Tensor, before: tuple[Tensor, Tensor], known: dict[str, Any], *, geometry: Geometry) -> Tensor:
    """The weight with its held elements where they belong; what is known of them is brought up to date.

    Args:
        weight: after the step.
        before: the weight and its rungs before the step.
    """
    rungs = geometry.rung(weight)
    flips = (rungs - before[1]).sign().to(torch.int8) * (~known["held"] & weight.isfinite())
    reverses = (flips * known["direction"] < 0).float()
    known["frequency"] = known["frequency"] + MOMENTUM * (reverses - known["frequency"])
    known["average"] = known["average"] + MOMENTUM * (geometry.value(rungs) - known["average"])
    known["direction"] = torch.where(flips != 0, flips, known["direction"])
    new = ~known["held"] & (known["frequency"] > known["above"])
    place = torch.where(new, geometry.value(geometry.rung(known["average"])), before[0])
    known["held"] = known["held"] | new
    return torch.where(known["held"], place, weight)
