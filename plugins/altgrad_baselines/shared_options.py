"""What the options of several optimizers have in common."""

from __future__ import annotations

from typing import Any

from pydantic import Field, NonNegativeFloat, PositiveFloat

from altgrad_core import OptimizerSpec


class AdamOptions(OptimizerSpec):
    """The options of Adam's step, with the defaults of AdamW; a subclass says what they mean."""

    lr: PositiveFloat = 1e-3
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float:
        """As Adam: every element moves by about the rate, whatever its magnitude."""
        return -1.0 if is_hidden else 0.0

    def adam(self) -> dict[str, Any]:
        """These options as an optimizer of torch takes them."""
        return {"lr": self.lr, "betas": (self.beta1, self.beta2), "eps": self.eps, "weight_decay": self.weight_decay}


class InProportion(OptimizerSpec):
    """An optimizer whose steps of a matrix are in proportion to its weights."""

    def width_power(self, *, is_hidden: bool, is_matrix: bool, on_grid: bool) -> float:
        """Matrices move in proportion to their elements, which in hidden ones are about width^(-1/2)."""
        return -0.5 if is_hidden else 0.0
