"""The cells that `cells.json` tells of, where nothing has changed since their manifests were resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from altgrad_core.errors import RunError
from altgrad_core.experiments.matrix.cell import Key
from altgrad_core.experiments.matrix.cells import Known, Matrix
from altgrad_core.experiments.matrix.origin import origin_of
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.records.directory import CELLS
from altgrad_core.records.files import read_json
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.import_path import names_an_import

HASH = re.compile("[0-9a-f]{64}")


def matrix_in(study: Path, source: ManifestFile, registry: Registry, *, most: int) -> Matrix:
    """The matrix of a manifest. Cells that the study's `cells.json` tells of are resolved when they are trained.

    Raises:
        ManifestError: see `Matrix`.
    """
    return Matrix(source, registry, most=most, known=known_in(study, source, registry))


def known_in(study: Path, source: ManifestFile, registry: Registry) -> Known:
    """The cells in `cells.json`; none where that is of another origin, or damaged, or code without a version decides."""
    if names_an_import(source):
        return {}
    try:
        plan = read_json(study / CELLS)
    except (OSError, RunError):
        return {}
    if plan.get("origin") != origin_of(source, registry):
        return {}
    try:
        return dict(_cells(plan))
    except (KeyError, TypeError, ValueError):
        return {}


def _cells(plan: Mapping[str, Any]) -> Iterator[tuple[Key, tuple[str, Mapping[str, Any]]]]:
    for cell in plan["cells"]:
        (index, setting), identity, manifest = cell["key"], cell["identity"], cell["manifest"]
        if not HASH.fullmatch(identity) or manifest["run"]["steps"] < 1:
            raise ValueError
        yield (index, tuple((axis, value) for axis, value in setting)), (identity, manifest)
