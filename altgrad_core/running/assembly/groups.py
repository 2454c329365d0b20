"""Groups of parameters by layer pattern: which optimizer trains which parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.contracts.pattern import matches
from altgrad_core.running.model.param import Param
from altgrad_core.running.model.recipe import unmatched


@dataclass(frozen=True)
class Group:
    """An optimizer for the parameters of the layers that match a pattern.

    Attributes:
        layers: as of a rule of a recipe; the layer of a parameter is its path without the last part.
        only: of these, the parameters of two or more dimensions, or of fewer.
    """

    layers: str
    spec: OptimizerSpec
    only: Literal["matrices", "vectors"] | None = None

    def takes(self, param: Param) -> bool:
        """Whether a parameter is of this group, unless of a later one; a tied one is of each layer that has it."""
        return self._is_of_kind(param) and any(matches(self.layers, layer) for layer in param.layers)

    def problem(self, params: Sequence[Param]) -> str | None:
        """Why the pattern is wrong, if it takes none of the parameters."""
        layers = dict.fromkeys(layer for param in params if self._is_of_kind(param) for layer in param.layers)
        problem = unmatched(self.layers, list(layers))
        return f"of the layers with {self.only}, {problem}" if problem and self.only else problem

    def _is_of_kind(self, param: Param) -> bool:
        return self.only in (None, "matrices" if param.tensor.dim() >= 2 else "vectors")


class Share(NamedTuple):
    """The parameters that one optimizer trains; `group` is the index of its group, None for all the rest."""

    group: int | None
    spec: OptimizerSpec
    params: list[Param]


def shares(spec: OptimizerSpec, groups: Sequence[Group], params: Sequence[Param]) -> list[Share]:
    """Who trains what: of the groups that take a parameter the last, or `spec`. Equal optimizers are one."""
    result = [Share(None, spec, []), *(Share(index, group.spec, []) for index, group in enumerate(groups))]
    for param in params:
        taken = [share for share, group in zip(result[1:], groups, strict=True) if group.takes(param)]
        chosen = taken[-1] if taken else result[0]
        next(share for share in result if _are_equal(share.spec, chosen.spec)).params.append(param)
    return [share for share in result if any(param.tensor.requires_grad for param in share.params)] or result[:1]


def _are_equal(one: OptimizerSpec, other: OptimizerSpec) -> bool:
    return one.name == other.name and one.written() == other.written()
