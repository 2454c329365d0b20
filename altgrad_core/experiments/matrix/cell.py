"""One cell of a matrix: its resolved manifest, its name and its identity."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from altgrad_core.contracts.actions import ROLES
from altgrad_core.manifest.matrix import Label, Point
from altgrad_core.manifest.merge import assign, dotted, location_of
from altgrad_core.manifest.schema import RunTable
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.session.describe import resolved_manifest

SCHEMA = 1
LONGEST_NAME = 120
Setting = tuple[tuple[str, float | int], ...]
"""The searched keys, each with its value."""


@dataclass(frozen=True)
class Cell:
    """One run of a matrix.

    Attributes:
        name: of its directory: the values of the axes, and the beginning of the identity.
        identity: SHA-256 of its resolved manifest and of the facts of its formats, without name, trackers and device.
        labels: for every axis, what its value is called.
        manifest: with every default written out, as plain data.
        role: `cell`, or `probe` where it only helps to find the largest stable rate.
    """

    name: str
    identity: str
    labels: Mapping[str, Label]
    resolved: Resolved
    manifest: Mapping[str, Any]
    role: Literal["cell", "probe"] = "cell"

    @property
    def run_table(self) -> RunTable:
        """The table `[run]` of its manifest."""
        return self.resolved.manifest.run

    def written(self) -> dict[str, Any]:
        """The cell as `cells.json` has it."""
        place = {"name": self.name, "identity": self.identity, "point": dict(self.labels), "role": self.role}
        return {**place, "manifest": dict(self.manifest)}


def with_setting(point: Point, setting: Setting, named: str) -> Point:
    """The point with the searched keys at their values; its label is that of the learning rate, which tells them apart."""
    data = json.loads(json.dumps(point.source.data))
    origin = f"{point.source.where(('matrix', 'search'))} (matrix.search)"
    settings = dict(point.source.settings)
    for key, value in setting:
        assign(data, location_of(key), value)
        settings[location_of(key)] = origin
    labels = {**point.labels, dotted(location_of(named)): dict(setting)[named]}
    return Point(labels, replace(point.source, data=data, settings=settings))


def cell_of(point: Point, registry: Registry) -> Cell:
    """The cell that a point makes."""
    resolved = resolve(point.source, registry)
    identity = identity_of(resolved)
    return Cell(_name(point.labels, identity), identity, point.labels, resolved, resolved_manifest(resolved))


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
