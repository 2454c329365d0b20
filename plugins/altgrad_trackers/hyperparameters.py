"""The hyper-parameters of a run as flat values, by the key that a manifest has them under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_LEFT_OUT = ("run.name", "monitor", "intervention", "tracker", "executor")  # they look at numbers, or name a run


def hyperparameters(manifest: Mapping[str, Any]) -> dict[str, float | str]:
    """`{key: value}` of a resolved manifest, such as `{"optimizer.lr": 0.1, "recipe[0].weight.format": "e4m3"}`.

    What tells no two results apart is left out: the name, and what only looks.
    """
    result = dict(_flat("", manifest))
    return {key: value for key, value in result.items() if not _is_left_out(key)}


def _is_left_out(key: str) -> bool:
    return any(key == out or key.startswith((f"{out}.", f"{out}[")) for out in _LEFT_OUT)


def _flat(key: str, value: Any) -> Iterator[tuple[str, float | str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for place, inner in enumerate(value):
            yield from _flat(f"{key}[{place}]", inner)
    elif isinstance(value, bool):
        yield key, str(value).lower()
    elif value is not None:
        yield key, value if isinstance(value, int | float | str) else str(value)
