"""The tables of a manifest that are valid by themselves, so that what they name is looked up even where others are not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.options import Table
from altgrad_core.manifest.recipe_schema import QuantizerTable, RecipeTable
from altgrad_core.manifest.schema import DataTable, OptimizerTable, UseTable

TableT = TypeVar("TableT", bound=Table)


@dataclass(frozen=True)
class Tables:
    """What names plugins and formats; None where a table is missing or names nothing that can be looked up."""

    model: UseTable | None
    data: UseTable | None
    optimizer: OptimizerTable | None
    recipe: Sequence[RecipeTable | None]
    evaluate: Sequence[tuple[str, Sequence[RecipeTable | None]]]
    monitor: Sequence[UseTable | None]
    intervention: Sequence[UseTable | None]
    tracker: Sequence[UseTable | None]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Tables:
        """Those of a manifest, valid or not. A table with a mistake in its own keys is there with its plugin's options."""
        optimizer = data.get("optimizer")
        named = {
            kind: [_use(UseTable, table) for table in _list(data.get(kind))] for kind in ("monitor", "intervention")
        }
        return cls(
            model=_use(UseTable, data.get("model")),
            data=_use(DataTable, data.get("data")),
            optimizer=_valid(OptimizerTable, optimizer)
            or _valid(OptimizerTable, _without_own(OptimizerTable, optimizer)),
            recipe=[_rule(table) for table in _list(data.get("recipe"))],
            evaluate=[_evaluation(table) for table in _list(data.get("evaluate"))],
            tracker=[_use(UseTable, table) for table in _list(data.get("tracker"))],
            **named,
        )


def _use(model: type[UseTable], table: Any) -> UseTable | None:
    return _valid(UseTable, _without_own(model, table))


def _without_own(model: type[UseTable], table: Any) -> Any:
    """A table without AltGrad's own keys: `use` and the options of the plugin."""
    if not isinstance(table, dict):
        return table
    return {key: value for key, value in table.items() if key == "use" or key not in model.model_fields}


def _rule(table: Any) -> RecipeTable | None:
    """A rule with the quantizers that are valid."""
    if not isinstance(table, dict):
        return None
    result: dict[str, Any] = {role: _valid(QuantizerTable, table.get(role)) for role in ROLES}
    layers = table.get("layers")
    return RecipeTable.model_construct(layers=layers if isinstance(layers, str) else "", **result)


def _evaluation(table: Any) -> tuple[str, list[RecipeTable | None]]:
    """The name of an `[[evaluate]]` table, and the rules of its recipe."""
    known = table if isinstance(table, dict) else {}
    name = known.get("name")
    return name if isinstance(name, str) else "", [_rule(rule) for rule in _list(known.get("recipe"))]


def _list(tables: Any) -> list[Any]:
    return tables if isinstance(tables, list) else []


def _valid(model: type[TableT], data: Any) -> TableT | None:
    try:
        return model.model_validate_json(json.dumps(data), strict=True)
    except ValidationError:
        return None
