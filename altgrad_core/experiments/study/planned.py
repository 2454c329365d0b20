"""What a cell that was planned but has not begun would be: made of its place in the matrix and of the cells that ran."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from altgrad_core.experiments.study.labels import is_manifest
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.merge import assign, laid_over, location_of, value_at

Data = dict[str, Any]
Point = Mapping[str, Any]


def planned_manifests(
    manifests: Sequence[Data], points: Sequence[Point], directory: Path, *, told: Sequence[Any] = ()
) -> list[Data]:
    """The manifests, with those that are missing taken from the plan, or put together from the others.

    Args:
        manifests: resolved; empty where a cell has none.
        points: for every cell, the value or the label that it has on each axis of the matrix.
        told: for every cell, its manifest as the plan has it; older plans have none.
        directory: of the study, whose own manifest serves where no cell ran.
    """
    planned = [data if isinstance(data, dict) and is_manifest(data) else {} for data in told or [None] * len(points)]
    manifests = [manifest or own for manifest, own in zip(manifests, planned, strict=True)]
    known = [(point, manifest) for point, manifest in zip(points, manifests, strict=True) if manifest]
    if base := _own(directory):
        known.append(({}, base))
    return [
        manifest or (_planned(point, known) if known and point else {})
        for point, manifest in zip(points, manifests, strict=True)
    ]


def _own(directory: Path) -> Data:
    try:
        data = tomllib.loads((directory / "manifest.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {key: value for key, value in data.items() if key != "matrix"}


def _planned(point: Point, known: Sequence[tuple[Point, Data]]) -> Data:
    """The nearest cell that has every key of the point, with what differs taken from cells that have it, or set."""

    def nearness(pair: tuple[Point, Data]) -> tuple[int, int]:
        keys = sum(value_at(pair[1], location_of(axis)) is not None for axis in point)
        return keys, sum(pair[0].get(axis) == point[axis] for axis in point)

    nearest, manifest = max(known, key=nearness)
    planned = copy.deepcopy(manifest)
    for axis in sorted(point, key=lambda axis: len(location_of(axis))):  # a table before the keys in it
        location = location_of(axis)
        donor = manifest if nearest.get(axis) == point[axis] else _donor(known, axis, point[axis])
        value = _meant(point[axis], planned, location) if donor is None else value_at(donor, location)
        if location[0] not in manifest or value is None:
            continue  # the name of a variant is no key of a manifest
        assign(planned, location, copy.deepcopy(value))
    return planned


def _meant(label: Any, planned: Data, location: Location) -> Any:
    """What an axis sets where it has this label: for a table, its `use` and the options that the label tells."""
    instead_of = value_at(planned, location)
    if isinstance(instead_of, list):
        return [] if label == "none" else instead_of
    if not isinstance(instead_of, dict) or not isinstance(label, str):
        return label
    use, *options = label.split(" ")
    told = {key: _value(text) for key, _, text in (option.partition("=") for option in options)}
    return laid_over(instead_of, {"use": use, **told}, location)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _donor(known: Sequence[tuple[Point, Data]], axis: str, label: Any) -> Data | None:
    return next((data for point, data in known if point.get(axis) == label), None)
