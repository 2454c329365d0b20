"""How a parameter's shape goes with the width of its model, so that rates can be transferred over widths."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WidthScaling:
    """What a model in the maximal update parametrization says of its parameters, as the attribute `width_scaling` of modules.

    It holds for the parameters of that module and of all modules within it that have none of their own.

    Attributes:
        ratio: the width of the model over that for which rates are meant.
        is_hidden: whether both dimensions of the module's matrices grow with the width; vectors are never hidden.
    """

    ratio: float
    is_hidden: bool = False
