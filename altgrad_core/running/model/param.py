"""A parameter of a model, as an optimizer is shown it."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.model.moment import Moment


class Param(NamedTuple):
    """A parameter of a model.

    Attributes:
        path: the first one under which the model has it.
        geometry: the live grid of its values, or None where it is not quantized.
        aliases: its other paths, where layers share it.
        moment: where the training of its plan stands; it names the random stream of an optimizer's step.
    """

    path: str
    tensor: nn.Parameter
    geometry: Geometry | None
    aliases: tuple[str, ...] = ()
    moment: Moment | None = None

    @property
    def layers(self) -> tuple[str, ...]:
        """The paths of the layers that have it."""
        return tuple(path.rpartition(".")[0] for path in (self.path, *self.aliases))
