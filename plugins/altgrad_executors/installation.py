"""What is installed where a cell runs. It imports the standard library alone, so that it runs where AltGrad is missing."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, entry_points, version

PACKAGES = ("altgrad", "torch", "numpy", "numba", "safetensors")


def installation() -> dict[str, str]:
    """The versions of the packages that numbers depend on, and of every plugin, by name."""
    plugins = {f"plugin {p.name}": _origin(p.dist) for p in entry_points(group="altgrad")}
    return {**{name: _version(name) for name in PACKAGES}, **plugins}


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """What is another version there, or absent, one phrase each; plugins that are only there do not matter.

    A plugin that is missing with its package is not named beside it.
    """
    result = []
    for name, mine in here.items():
        other, package = there.get(name, "absent"), mine.partition(" ")[0]
        is_missing_too = name != package and there.get(package) == other == "absent"
        if other != mine and not is_missing_too:
            result.append(f"{name} is {other} there and {mine} here")
    return result


def _origin(distribution: Distribution | None) -> str:
    try:
        return f"{distribution.name} {distribution.version}" if distribution else "unknown"
    except FileNotFoundError:  # half removed, and read by importlib_metadata
        return "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
