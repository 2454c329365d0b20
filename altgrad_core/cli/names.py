"""Names that the shell completes: of plugins, of kinds, of trackers, and the keys of `--set`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def complete_plugin(incomplete: str) -> list[str]:
    """Everything installed, whatever it is."""
    from altgrad_core.registry.registry import installed

    return _that_begin(incomplete, (entry.name for entry in installed()))


def complete_kind(incomplete: str) -> list[str]:
    """The kinds of plugins."""
    from altgrad_core.registry.kinds import KINDS

    return _that_begin(incomplete, KINDS)


def complete_tracker(incomplete: str) -> list[str]:
    """The installed trackers."""
    from altgrad_core.registry.registry import installed

    return _that_begin(incomplete, installed().names("tracker"))


def complete_setting(incomplete: str) -> list[str]:
    """The keys that every manifest has, whatever plugins it names, such as `run.steps=`."""
    from altgrad_core.manifest.schema import DataTable, OptimizerTable, RunTable, UseTable

    tables: dict[str, type[BaseModel]] = {
        "run": RunTable,
        "model": UseTable,
        "data": DataTable,
        "optimizer": OptimizerTable,
    }
    keys = [f"{name}.{key}=" for name, table in tables.items() for key in table.model_fields if key != "group"]
    return _that_begin(incomplete, [*keys, "optimizer.lr="])


def _that_begin(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
