"""What the modules of a model say of how the rates of their parameters go with its width."""

from __future__ import annotations

from torch import Tensor, nn

from altgrad_core.contracts.width import WidthScaling


def widths_of(model: nn.Module) -> dict[Tensor, WidthScaling]:
    """That of every parameter for which a module says it: its own, or the nearest one around it; of a shared one the first."""
    message = {path: own for path, module in model.named_modules() if isinstance(own := _own(module), WidthScaling)}
    result: dict[Tensor, WidthScaling] = {}
    for path, parameter in model.named_parameters(remove_duplicate=False) if message else ():
        if (scaling := _nearest(path.rpartition(".")[0], message)) is not None:
            result.setdefault(parameter, scaling if parameter.dim() >= 2 else WidthScaling(scaling.ratio))
    return result


def _own(module: nn.Module) -> object:
    return vars(module).get("width_scaling")


def _nearest(path: str, message: dict[str, WidthScaling]) -> WidthScaling | None:
    while path not in message and path:
        path = path.rpartition(".")[0]
    return message.get(path)
