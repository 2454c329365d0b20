"""A parameter of a model, as an optimizer is shown it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from altgrad_core.contracts.width import WidthScaling
from altgrad_core.numerics.geometry import Geometry
from altgrad_core.running.model.moment import Moment
from altgrad_core.running.model.width import widths_of


class Param(NamedTuple):
    """A parameter of a model.

    Attributes:
        path: the first one under which the model has it.
        geometry: the live grid of its values, or None where it is not quantized.
        aliases: its other paths, where layers share it.
        moment: where the training of its plan stands; it names the random stream of an optimizer's step.
        is_rotated: whether it is rounded after a Hadamard transform, so that no optimizer can step along its grid.
        width: what its model says of how its rate goes with the width; None: nothing.
    """

    path: str
    tensor: nn.Parameter
    geometry: Geometry | None
    aliases: tuple[str, ...] = ()
    moment: Moment | None = None
    width: WidthScaling | None = None
    is_rotated: bool = False

    @property
    def layers(self) -> tuple[str, ...]:
        """The paths of the layers that have it."""
        return tuple(path.rpartition(".")[0] for path in (self.path, *self.aliases))


def params_of(
    model: nn.Module, geometry: Mapping[Tensor, Geometry], moment: Moment, *, rotated: Iterable[Tensor] = ()
) -> list[Param]:
    """All parameters of a model, each once."""
    paths: dict[nn.Parameter, list[str]] = {}
    for path, tensor in model.named_parameters(remove_duplicate=False):
        paths.setdefault(tensor, []).append(path)
    widths, without_grid = widths_of(model), set(rotated)
    return [
        Param(path, p, geometry.get(p), tuple(aliases), moment, widths.get(p), p in without_grid)
        for p, (path, *aliases) in paths.items()
    ]
