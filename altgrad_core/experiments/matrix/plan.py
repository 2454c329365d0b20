"""The content of `cells.json`: what a study is, so that a report of it needs nothing that was installed when it ran."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.experiments.matrix.cell import SCHEMA, Cell
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.study.declared import Declared
from altgrad_core.experiments.study.labels import default_options, labels_of
from altgrad_core.running.assembly.resolved import Resolved


def plan_of(matrix: Matrix, cells: Sequence[Cell]) -> dict[str, Any]:
    """Every cell with its labels, what the optimizers declare and their defaults, and the widths of the formats."""
    from altgrad_core import __version__

    alike = {json.dumps([cell.manifest["optimizer"], cell.manifest["recipe"]]): cell for cell in reversed(cells)}
    kinds = [cell.resolved for cell in reversed(alike.values())]
    specs = {spec.name: spec for resolved in kinds for spec in _specs(resolved)}
    defaults = {name: default_options(type(spec)) for name, spec in specs.items()}
    search = matrix.table.search
    searched = [] if search is None else [key for key in search.keys if key != search.key]
    labels = labels_of([cell.manifest for cell in cells], defaults, searched=searched)
    return {
        "schema": SCHEMA,
        "version": __version__,
        "origin": matrix.origin,
        "name": matrix.name,
        "manifest": str(matrix.source.path.resolve()),
        "baseline": matrix.table.baseline,
        "margin": matrix.table.margin,
        "confirms": matrix.table.confirms is not None,
        "optimizers": defaults,
        "declared": Declared.by(map(type, specs.values())).plain(),
        "formats": {name: bits for resolved in kinds for name, bits in _widths(resolved)},
        "cells": [{**cell.written(), "labels": own._asdict()} for cell, own in zip(cells, labels, strict=True)],
    }


def as_json(plan: Mapping[str, Any]) -> str:
    """A plan as JSON: a line for each key, and for each cell."""
    lines = {key: json.dumps(value, sort_keys=True) for key, value in plan.items() if key != "cells"}
    cells = ",\n".join(json.dumps(cell, sort_keys=True) for cell in plan["cells"])
    told = [f"{json.dumps(key)}: {line}" for key, line in {**lines, "cells": f"[\n{cells}\n]"}.items()]
    return "{\n" + ",\n".join(told) + "\n}\n"


def _specs(resolved: Resolved) -> Iterator[OptimizerSpec]:
    """The optimizer of a run and those of its parameter groups."""
    yield resolved.optimizer
    yield from (group.spec for group in resolved.groups)


def _widths(resolved: Resolved) -> Iterator[tuple[str, int]]:
    for rule in resolved.rules:
        for role in ROLES:
            if (quantizer := getattr(rule, role)) is not None:
                yield quantizer.target.name, quantizer.target.bits
