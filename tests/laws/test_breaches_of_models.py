"""The test of the tests: each law of models, and a plugin that breaks it."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from altgrad_core import (
    ModelSpec,
)
from altgrad_core.testing import (
    check_model,
)
from tests.laws.breaches import said


class Bigram(ModelSpec):
    """Predicts each token from the one before it."""

    name: ClassVar = "bigram"
    block_size: int = 8

    def build(self, vocabulary: int) -> Any:
        return nn.Sequential(nn.Embedding(vocabulary, 4), nn.Linear(4, vocabulary))


def model_of(module: type[nn.Module]) -> type[ModelSpec]:
    class Spec(Bigram):
        """A model with a fault."""

        def build(self, vocabulary: int) -> Any:
            return module()

    return Spec


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(16, 4), nn.Linear(4, 16)

    def forward(self, tokens: Any) -> Any:
        return self.head(self.embed(tokens))


class LastOnly(Base):
    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens)[:, -1]


class Idle(Base):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(4, 4)


class RollsNumpy(Base):
    def __init__(self) -> None:
        super().__init__()
        self.head.weight.data.fill_(np.random.random())


class NeverStill(Base):
    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens) + torch.rand(())


class HiddenState(Base):
    def __init__(self) -> None:
        super().__init__()
        self.shift = float(torch.rand(()))

    def forward(self, tokens: Any) -> Any:
        return super().forward(tokens) + self.shift


class NoLinear(Base):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(16, 16), nn.Identity()  # type: ignore[assignment]


class ReadsTheWeight(Base):
    def forward(self, tokens: Any) -> Any:
        return self.embed(tokens) @ self.head.weight.T + self.head.bias


@pytest.mark.parametrize(
    ("module", "breach"),
    [
        (LastOnly, "1 tokens gave torch.float32 of shape (2, 16), expected shape (2, 1, 16)."),
        (Idle, "A gradient reaches every parameter that is trained. None reached spare.weight."),
        (RollsNumpy, "Built twice from one seed, it began with another head.weight."),
        (NeverStill, "The logits were others the second time."),
        (HiddenState, "After load_state_dict they were others."),
        (NoLinear, "It has none, so that a recipe can quantize nothing."),
        (
            ReadsTheWeight,
            "The weight of head was never quantized: its layer is not called in the forward and backward pass.",
        ),
    ],
)
def test_a_model_with_one_fault_is_caught(module: type[nn.Module], breach: str) -> None:
    message = said(check_model, model_of(module))
    assert message.startswith('model "bigram", law: ') and message.endswith(breach)


def test_a_sound_model_passes() -> None:
    check_model(Bigram)
