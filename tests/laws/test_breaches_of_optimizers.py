"""The test of the tests: each law of optimizers, and a plugin that breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from altgrad_core import (
    OptimizerSpec,
)
from altgrad_core.testing import (
    check_optimizer,
)
from tests.laws.breaches import Sgd, said


class Broken(torch.optim.SGD):
    """A base for optimizers with one fault each."""

    def __init__(self, groups: Any, geometry: Any, lr: float) -> None:
        super().__init__(groups, lr=lr, momentum=0.9)
        self.geometry = geometry

    def every(self) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        for group in self.param_groups:
            for parameter in group["params"]:
                yield group, parameter


def spec_of(optimizer: type[Broken]) -> type[OptimizerSpec]:
    class Spec(Sgd):
        """Gradient descent with a fault."""

        def build(self, groups: Any, geometry: Any) -> Any:
            return optimizer(groups, geometry, self.lr)

    return Spec


class KeepsGeometryInState(Broken):
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for _, parameter in self.every():
            self.state[parameter]["geometry"] = self.geometry.get(parameter)
        return loss


class IgnoresTheRate(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for _, parameter in self.every():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
        return closure() if closure else None


class MovesWithoutGradient(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            parameter *= 1 - 0.1 * group["lr"]
        return loss


class DividesByTheWeight(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            if parameter.grad is not None:
                parameter -= group["lr"] * 1e-30 * parameter.grad.sign() / parameter.abs()
        return loss


class HasAMemoryOfItsOwn(Broken):
    def step(self, closure: Any = None) -> Any:
        self.count = getattr(self, "count", 0) + 1
        for group in self.param_groups:
            group["momentum"] = 0.9 if self.count > 3 else 0.0
        return super().step(closure)


class UsesNumpysGenerator(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            if parameter.grad is not None:
                parameter -= group["lr"] * 1e-3 * np.random.random()
        return loss


class UsesTheScaleAlone(Broken):
    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group, parameter in self.every():
            if parameter.grad is not None and parameter in self.geometry:
                parameter -= group["lr"] * 1e-3 * parameter.grad.sign() * self.geometry[parameter].scale
        return loss


class Climbs(Broken):
    def __init__(self, groups: Any, geometry: Any, lr: float) -> None:
        super().__init__(groups, geometry, lr)
        for group in self.param_groups:
            group["maximize"] = True


@pytest.mark.parametrize(
    ("optimizer", "breach"),
    [
        (KeepsGeometryInState, "state_dict holds plain data and tensors alone"),
        (IgnoresTheRate, 'It takes its rate from group["lr"]'),
        (MovesWithoutGradient, "A parameter without a gradient does not move"),
        (DividesByTheWeight, "Zero gradients, zero weights, and weights at and beyond the ends of the grid"),
        (HasAMemoryOfItsOwn, "A fresh optimizer that loads a saved state goes on, bit for bit"),
        (UsesNumpysGenerator, "Random numbers come from torch's default generator alone"),
        (UsesTheScaleAlone, "E0M7 and E1M6 are one grid up to a power of two"),
        (Climbs, "Over 60 steps the loss of a tiny model falls"),
    ],
)
def test_an_optimizer_with_one_fault_is_caught(optimizer: type[Broken], breach: str) -> None:
    assert said(check_optimizer, spec_of(optimizer)).startswith(f'optimizer "sgd", law: {breach}')


def test_the_geometry_in_the_state_is_named() -> None:
    assert said(check_optimizer, spec_of(KeepsGeometryInState)).endswith(
        "state_dict.state.1.geometry is a Geometry; state is plain data (numbers, strings, lists, dicts) and tensors. "
        "Keep the geometry as an attribute of the optimizer."
    )


def test_a_rate_that_is_ignored_is_caught() -> None:
    class Closing(IgnoresTheRate):
        def step(self, closure: Any = None) -> Any:
            with torch.enable_grad():
                loss = closure() if closure else None
            super().step()
            return loss

    assert said(check_optimizer, spec_of(Closing)) == (
        'optimizer "sgd", law: It takes its rate from group["lr"]: at 0, where a schedule may end, no weight moves, '
        "not even by decay. In e4m3b7-fn: embed.weight moved."
    )


def test_a_forgotten_parameter_is_caught() -> None:
    class Forgets(Sgd):
        """Trains matrices alone."""

        def build(self, groups: Any, geometry: Any) -> Any:
            return torch.optim.SGD(groups[:1], lr=self.lr)

    assert said(check_optimizer, Forgets).endswith("In e4m3b7-fn: the groups hold 4 of 8 parameters.")


def test_a_rate_that_is_no_option_is_caught() -> None:
    class Fixed(OptimizerSpec):
        """Gradient descent at one rate."""

        name: ClassVar = "fixed"

        def build(self, groups: Any, geometry: Any) -> Any:
            return torch.optim.SGD(groups, lr=0.1)

    assert said(check_optimizer, Fixed).endswith("Its options are none.")
