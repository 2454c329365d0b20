"""Tables laid over tables, and single keys set: what `extends`, `--set` and a matrix do to a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from altgrad_core.manifest.lines import Location

Data = dict[str, Any]
OWN_KEYS: dict[Location, tuple[str, ...]] = {
    ("optimizer",): ("schedule", "clip_norm", "group"),
    ("optimizer", "group"): ("layers", "only"),
    ("data",): ("batch_size", "accumulate"),
}
"""Keys of tables with `use` that are AltGrad's own, not the plugin's: they outlive a change of the plugin."""


def laid_over(base: Data, over: Data, location: Location = ()) -> Data:
    """`over` on top of `base`, which stands at `location`: tables merge key by key, everything else is replaced.

    Where `over` names another plugin (`use`), the options of the old one go; AltGrad's own keys of the table stay.
    """
    merged = dict(base)
    if over.get("use", base.get("use")) != base.get("use"):
        own = OWN_KEYS.get(tuple(part for part in location if isinstance(part, str)), ())
        merged = {key: value for key, value in base.items() if key in own}
    for key, value in over.items():
        old = merged.get(key)
        is_table = isinstance(value, dict) and isinstance(old, dict)
        merged[key] = laid_over(old, value, (*location, key)) if is_table else value  # type: ignore[arg-type]
    return merged


def assign(data: Data, location: Location, value: Any) -> Location | None:
    """Set one key, making the tables on its way; the part of the location that does not exist, if one does not."""
    place: Any = data
    for length, part in enumerate(location[:-1], start=1):
        if isinstance(place, list) and isinstance(part, int) and part < len(place):
            place = place[part]
        elif isinstance(place, dict):
            place = place.setdefault(str(part), {})
        else:
            return location[:length]
    last = location[-1]
    if isinstance(place, list) and isinstance(last, int) and last < len(place):
        place[last] = value
    elif isinstance(place, dict):
        place[str(last)] = value
    else:
        return location
    return None


def value_at(data: Any, location: Location) -> Any:
    """What stands at a location; None where nothing does."""
    for part in location:
        if isinstance(data, dict):
            data = data.get(str(part))
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def location_of(key: str) -> Location:
    """`recipe[2].weight` or `recipe.2.weight` as ("recipe", 2, "weight")."""
    parts = re.sub(r"\[(\d+)\]", r".\1", key).strip().split(".")
    return tuple(int(part) if part.isdecimal() and part.isascii() and len(part) < 6 else part for part in parts)


def dotted(location: Iterable[str | int]) -> str:
    """`("recipe", 2, "weight")` as `recipe[2].weight`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
