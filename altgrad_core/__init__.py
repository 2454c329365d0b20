"""AltGrad: train in any 8-bit floating-point format, with updates that know its geometry, and see what happens.

This is the front door: every public name, loaded when it is first used. Importing it imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOMS = {
    "errors": ("AltgradError", "FormatError", "ManifestError", "PluginError", "RunError"),
    "numerics.adamw": ("adam_direction", "adamw_step", "begin_moments"),
    "numerics.format": ("Float32", "Format"),
    "numerics.geometry": ("Geometry",),
    "numerics.grid": ("Grid",),
    "numerics.minifloat": ("Minifloat",),
    "numerics.quantizer": ("Quantizer", "decode", "encode", "fake_quantize"),
    "numerics.random": ("derive_key",),
    "numerics.scaling": ("Scaling",),
    "numerics.tally": ("Tally",),
    "contracts.actions": (
        "Action",
        "ClipGradients",
        "ScaleLearningRate",
        "SkipStep",
        "Stop",
        "SwitchFormat",
    ),
    "contracts.dataset": ("DatasetSpec", "TokenData"),
    "contracts.events": (
        "WHOLE_MODEL",
        "Backpropagated",
        "Began",
        "Ended",
        "Evaluated",
        "Event",
        "OperandFacts",
        "Updated",
        "Weight",
    ),
    "contracts.intervention": ("Intervention",),
    "contracts.model": ("ModelSpec",),
    "contracts.monitor": ("Monitor", "Readings"),
    "contracts.optimizer": ("OptimizerSpec",),
    "contracts.options": ("ManifestPath", "Options"),
    "contracts.plugin": ("hookimpl",),
    "contracts.tracker": ("RunFacts", "Tracker", "TrackerSpec"),
    "running.library": ("build_optimizer", "load_format", "quantize_model"),
    "running.plan": ("Plan",),
    "running.recipe": ("Rule",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}
__all__ = sorted(_ROOM_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("altgrad")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
