"""What of a manifest a study compares: the table of an optimizer, and its keys as flat paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from altgrad_core.contracts.actions import ROLES

Flat = dict[str, Any]
COMMON = ("schedule", "clip_norm")
"""What the table of an optimizer says for every group, so that it stays where one group takes the place of all."""


def is_manifest(data: Mapping[str, Any]) -> bool:
    """Whether plain data has the tables of a resolved manifest, and a recipe of rules."""
    rules = data.get("recipe", [])
    return (
        all(isinstance(data.get(table), Mapping) for table in ("run", "model", "data", "optimizer"))
        and isinstance(rules, list)
        and all(isinstance(rule, Mapping) and isinstance(rule.get("layers"), str) for rule in rules)
        and all(isinstance(rule.get(role, {}), Mapping) for rule in rules for role in ROLES)
    )


def subjects(manifests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The manifests, with the optimizer of one parameter group in the place of all, where that alone is varied.

    A study of how the quantized weights are stepped leaves the other parameters to one optimizer in every cell. Its options may
    belong to those of the group, as when each step has the setting that a search found for it; the schedule is that of all groups,
    and may vary in any way. Where no optimizer is varied, as in a single run, the only group takes the place of all.
    """
    tables = [manifest["optimizer"] for manifest in manifests]
    groups = [table.get("group", []) for table in tables]
    outside = [flatten({key: value for key, value in table.items() if key != "group"}) for table in tables]
    if len({len(members) for members in groups}) != 1:
        return list(manifests)
    columns = [[flatten(member) for member in members] for members in zip(*groups, strict=True)]
    places = [index for index, members in enumerate(columns) if varying_keys(members)]
    if not places and len(columns) == 1:  # nothing is varied: the group was set apart to be looked at
        places = [0]
    if len(places) != 1:
        return list(manifests)
    (index,) = places
    outer = [key for key in varying_keys(outside) if key.partition(".")[0] not in COMMON]
    if outer and ("use" in outer or not belongs(outer, columns[index], outside)):
        return list(manifests)
    return [
        {**manifest, "optimizer": _subject(table, members[index])}
        for manifest, table, members in zip(manifests, tables, groups, strict=True)
    ]


def belongs(keys: Sequence[str], settings: Sequence[Flat], cells: Sequence[Flat]) -> bool:
    """Whether the values of some keys of every cell are decided by its setting, of which there are several."""
    values: dict[str, set[str]] = {}
    for setting, cell in zip(settings, cells, strict=True):
        values.setdefault(repr(setting), set()).add(repr([cell.get(key) for key in keys]))
    return len(values) > 1 and all(len(found) == 1 for found in values.values())


def _subject(table: Mapping[str, Any], member: Mapping[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in member.items() if key not in ("layers", "only")}
    common = {key: table[key] for key in COMMON if key in table}
    return {"use": table["use"], **own, **common}


def flatten(value: Any, prefix: str = "") -> Flat:
    """Nested tables as one of paths, such as `recipe[0].weight.format`; a list of anything else stays one value."""
    if isinstance(value, Mapping):
        pairs = [(f"{prefix}.{key}" if prefix else str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list) and value and all(isinstance(inner, Mapping) for inner in value):
        pairs = [(f"{prefix}[{index}]", inner) for index, inner in enumerate(value)]
    else:
        return {prefix: leaf(value)}
    return {key: leaf for path, inner in pairs for key, leaf in flatten(inner, path).items()}


def leaf(value: Any) -> Any:
    """A value that is no table; a list as a tuple, which can be compared and hashed."""
    return tuple(value) if isinstance(value, list) else value


def varying_keys(cells: Sequence[Flat], *, absent: bool = True) -> list[str]:
    """The keys that do not have the same value in all cells, in order of appearance; `absent` counts as a value."""
    keys = dict.fromkeys(key for cell in cells for key in cell)
    values = {key: {repr(cell.get(key)) for cell in cells if absent or key in cell} for key in keys}
    return [key for key in keys if len(values[key]) > 1]
