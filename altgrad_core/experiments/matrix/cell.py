"""One cell of a matrix: its resolved manifest, its name and its identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from altgrad_core.contracts.actions import ROLES
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.matrix import Label, Point
from altgrad_core.manifest.merge import assign, dotted, location_of
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.session.describe import resolved_manifest

SCHEMA = 1
LONGEST_NAME = 120
Setting = tuple[tuple[str, float | int], ...]
"""The searched keys, each with its value."""
Key = tuple[int, Setting]
"""The number of a point of the matrix, and the searched keys."""


@dataclass(frozen=True)
class Cell:
    """One run of a matrix.

    Attributes:
        name: of its directory: the values of the axes, and the beginning of the identity.
        identity: SHA-256 of its resolved manifest and of the facts of its formats, without name, trackers and device.
        labels: for every axis, what its value is called.
        manifest: with every default written out, as plain data.
        key: which point of the matrix it is, with what a search sets.
        resolve: looks up what its manifest names.
        role: `cell`, or `probe` where it only helps to find the largest stable rate.
    """

    name: str
    identity: str
    labels: Mapping[str, Label]
    manifest: Mapping[str, Any]
    key: Key
    resolve: Callable[[], Resolved] = field(compare=False, repr=False)
    role: Literal["cell", "probe"] = "cell"

    @cached_property
    def resolved(self) -> Resolved:
        """Its manifest with every name replaced by what it means."""
        return self.resolve()

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return int(self.manifest["run"]["steps"])

    @property
    def device(self) -> str:
        """The device that its manifest asks for."""
        return str(self.manifest["run"]["device"])

    def written(self) -> dict[str, Any]:
        """The cell as `cells.json` has it."""
        place = {"name": self.name, "identity": self.identity, "point": dict(self.labels), "role": self.role}
        return {**place, "key": [self.key[0], [list(pair) for pair in self.key[1]]], "manifest": dict(self.manifest)}


def with_setting(point: Point, setting: Setting, axis: str) -> Point:
    """The point with the searched keys at their values; its label is that of the learning rate, which tells them apart."""

    def make() -> ManifestFile:
        data = json.loads(json.dumps(point.source.data))
        origin = f"{point.source.where(('matrix', 'search'))} (matrix.search)"
        for key, value in setting:
            assign(data, location_of(key), value)
        settings = {**point.source.settings, **{location_of(key): origin for key, _ in setting}}
        return replace(point.source, data=data, settings=settings)

    return Point({**point.labels, dotted(location_of(axis)): dict(setting)[axis]}, make)


def cell_of(point: Point, registry: Registry, key: Key) -> Cell:
    """The cell that a point makes."""
    resolved = resolve(point.source, registry)
    return named(point, identity_of(resolved), resolved_manifest(resolved), key, lambda: resolved)


def named(point: Point, identity: str, manifest: Mapping[str, Any], key: Key, resolve: Callable[[], Resolved]) -> Cell:
    """The cell of a point whose manifest is resolved; its name follows from its labels and its identity."""
    return Cell(_name(point.labels, identity), identity, point.labels, manifest, key, resolve)


def identity_of(resolved: Resolved) -> str:
    """SHA-256 of everything that decides the numbers of a run, and of the schema it is written in."""
    manifest = {key: value for key, value in resolved_manifest(resolved).items() if key != "tracker"}
    manifest["run"] = {key: value for key, value in manifest["run"].items() if key not in ("name", "device")}
    quantizers = [q for rule in resolved.rules for role in ROLES if (q := getattr(rule, role)) is not None]
    formats = [quantizer.target.facts() for quantizer in quantizers]
    text = json.dumps({"schema": SCHEMA, "manifest": manifest, "formats": formats}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _name(labels: Mapping[str, Label], identity: str) -> str:
    words = [
        str(value) if isinstance(value, str) else f"{axis.rsplit('.')[-1]}{value}" for axis, value in labels.items()
    ]
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(words)).strip("-.")[:LONGEST_NAME]
    return f"{slug}-{identity[:8]}" if slug else identity[:8]
