"""What the modules of a model say of how the rates of their parameters go with its width."""

from __future__ import annotations

from torch import Tensor, nn

from altgrad_core.contracts.width import WidthScaling


def widths_of(model: nn.Module) -> dict[Tensor, WidthScaling]:
    """That of every parameter for which a module says it: its own, or the nearest one around it; of a shared one the first."""
    said = {path: own for path, module in model.named_modules() if isinstance(own := _own(module), WidthScaling)}
    found: dict[Tensor, WidthScaling] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False) if said else ():
        if (scaling := _nearest(path.rpartition(".")[0], said)) is not None:
            found.setdefault(parameter, scaling if parameter.dim() >= 2 else WidthScaling(scaling.ratio))
    return found


def _own(module: nn.Module) -> object:
    return vars(module).get("width_scaling")


def _nearest(path: str, said: dict[str, WidthScaling]) -> WidthScaling | None:
    while path not in said and path:
        path = path.rpartition(".")[0]
    return said.get(path)
