"""Actions: the changes a run can make to itself, each with the reason it was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal[
    "weight",
    "activation",
    "gradient",
    "weight_for_input_gradient",
    "activation_for_weight_gradient",
    "gradient_for_weight_gradient",
    "query",
    "key",
    "probability",
    "value",
    "score_gradient",
    "output_gradient",
    "moment",
    "second_moment",
]
ROLES: tuple[Role, ...] = get_args(Role)
GRADIENTS: tuple[Role, ...] = ("gradient", "gradient_for_weight_gradient", "score_gradient", "output_gradient")
"""The roles of gradients."""
WEIGHTS: tuple[Role, ...] = ("weight", "weight_for_input_gradient")
"""The roles of weights."""
BACKWARD: tuple[Role, ...] = (*GRADIENTS, "weight_for_input_gradient", "activation_for_weight_gradient")
"""The roles that are rounded in the backward pass."""
MOMENTS: tuple[Role, ...] = ("moment", "second_moment")
"""The roles of what an optimizer keeps of a weight; they are rounded after its step."""


@dataclass(frozen=True, kw_only=True)
class Action:
    """One change the run can make. `because` is written into the records.

    Actions of `Backpropagated` come in time to change the gradients of that step; all others act before the next step.
    """

    because: str


def _check_factor(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; expected a finite number, 0 or more")


@dataclass(frozen=True, kw_only=True)
class Stop(Action):
    """End the run after this step, with a checkpoint; `diverged` says that the run failed to train."""

    diverged: bool = False


@dataclass(frozen=True, kw_only=True)
class SwitchFormat(Action):
    """Move one role of every layer matching `layer` to the format named `to`, or to the one `to` has for its present one.

    Raises:
        ValueError: there is no such role.
    """

    layer: str
    to: str | Mapping[str, str]
    role: Role = "weight"

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f'there is no role "{self.role}"; the roles are: {", ".join(ROLES)}')


@dataclass(frozen=True, kw_only=True)
class SkipStep(Action):
    """Leave weights and optimizer state as they are in this step; needs readings of `Backpropagated`."""


@dataclass(frozen=True, kw_only=True)
class ClipGradients(Action):
    """Scale the gradients of the layers matching `layer` down to a total L2 norm; needs readings of `Backpropagated`.

    Raises:
        ValueError: `max_norm` is not a finite number, 0 or more.
    """

    max_norm: float
    layer: str = "*"

    def __post_init__(self) -> None:
        _check_factor("max_norm", self.max_norm)


@dataclass(frozen=True, kw_only=True)
class ScaleLearningRate(Action):
    """Multiply every learning rate by `factor`, from now to the end of the run.

    With `reversing`, only those of single elements, and only by 0: the quantized weights of the layers matching `layer`
    are followed from now on, and an element is held at its place as soon as the moving average of its reversals (flips
    against its last flip) exceeds `reversing`.

    Raises:
        ValueError: `factor` is not a finite number, 0 or more, or not 0 although `reversing` is given, or `layer` is given without it.
    """

    factor: float
    layer: str = "*"
    reversing: float | None = None

    def __post_init__(self) -> None:
        _check_factor("factor", self.factor)
        if self.reversing is not None and self.factor != 0:
            raise ValueError(f"reversing needs a factor of 0, which freezes a weight; got {self.factor}")
        if self.reversing is None and self.layer != "*":
            raise ValueError(f'the rate of layer "{self.layer}" alone can only be set to 0, with reversing')


@dataclass(frozen=True, kw_only=True)
class RollBack(Action):
    """Return to the newest checkpoint that was sound, and go on with every learning rate times `factor`.

    Sound are weights that gave a finite loss, and of those of a step up to `not_after`, or the oldest where all are
    later. Monitors and interventions keep what they remember. After `most` times the run stops, diverged.

    Raises:
        ValueError: `factor` is not a finite number, 0 or more.
    """

    not_after: int
    factor: float = 0.5
    most: int = 3

    def __post_init__(self) -> None:
        _check_factor("factor", self.factor)


@dataclass(frozen=True, kw_only=True)
class Warn(Action):
    """Say so, in the records and on the screen, and change nothing."""

    layer: str = "*"


BEFORE_THE_UPDATE: tuple[type[Action], ...] = (SkipStep, ClipGradients)
