"""Asking the unquantized twin leaves the model, its modes and its generators as they were."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.library import layer_kinds
from altgrad_core.running.model.layers import QuantizedModule
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule
from altgrad_core.running.model.twin import Twin, undisturbed
from altgrad_core.running.model.view import watched_weights
from altgrad_core.testing.tiny import bits, generators


class Restless(nn.Module):
    """Writes to buffers, counts, and draws from every shared generator while it computes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.drop = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.broken = 0, False

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = self.seen + 1
        y: Tensor = self.drop(self.norm(self.inner(x))) * (random.random() + np.random.rand())
        if self.broken:
            raise ArithmeticError("broken")
        return y


def restless() -> tuple[Restless, Twin]:
    model = Restless()
    e4m3 = Quantizer(Minifloat(4, 3, 7, "fn"))
    Plan(
        model,
        [Rule("inner", weight=e4m3, activation=e4m3)],
        kinds=layer_kinds(installed()),
        find=lambda name: e4m3.format,
    )  # type: ignore[arg-type,return-value]
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    model(x).square().mean().backward()

    def loss() -> Tensor:
        torch.manual_seed(1)
        return model(x).square().mean()

    return model, Twin(model, watched_weights(model), [loss, loss])


def state_of(model: Restless) -> list[object]:
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    identities = [id(tensor) for tensor in tensors]
    modules = [(type(module), module.training) for module in model.modules()]
    return [[bits(tensor) for tensor in tensors], identities, modules, model.calls, generators()]


def test_a_model_that_writes_counts_and_draws_is_left_as_it_was() -> None:
    model, twin = restless()
    before = state_of(model)
    gradient = twin.gradients["inner"]
    twin.hvp({"inner": torch.ones(4, 4)})
    assert state_of(model) == before
    assert not torch.equal(gradient, model.inner.weight.grad)  # type: ignore[arg-type]


def test_a_model_that_fails_on_the_way_is_left_as_it_was() -> None:
    model, twin = restless()
    model.broken = True
    before = state_of(model)
    for ask in (lambda: twin.gradients, lambda: twin.hvp({"inner": torch.ones(4, 4)})):
        with pytest.raises(ArithmeticError, match="broken"):
            ask()
        assert state_of(model) == before
    assert isinstance(model.inner, QuantizedModule)


def test_grad_mode_is_on_inside_and_what_it_was_outside() -> None:
    model, twin = restless()
    with torch.no_grad():
        assert twin.gradients["inner"].abs().sum() > 0
        assert not torch.is_grad_enabled()
    with undisturbed(model):
        assert all(parameter.grad is None for parameter in model.parameters())
