"""What optimizers declare of their options: which one is the rate of other parameters, and which are controls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altgrad_core.contracts.optimizer import OptimizerSpec


@dataclass(frozen=True)
class Declared:
    """Of the optimizers of a study; see `OptimizerSpec`.

    Attributes:
        plain_rates: by optimizer, its option for the rate of parameters that are not quantized.
        controls: by option, what a comparison of its values shows.
    """

    plain_rates: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def by(cls, specs: Iterable[type[OptimizerSpec]]) -> Declared:
        """What these declare."""
        specs = list(specs)
        rates = {str(spec.name): spec.plain_rate for spec in specs if spec.plain_rate is not None}
        return cls(rates, {option: what for spec in specs for option, what in spec.controls.items()})

    @classmethod
    def read(cls, data: Any) -> Declared:
        """From plain data, as `cells.json` has it; by what is installed where that has none, or is damaged."""
        tables: list[Any] = [data.get("plain_rates"), data.get("controls")] if isinstance(data, Mapping) else []
        if tables and all(_is_of_text(table) for table in tables):
            return cls(*tables)
        return cls.installed()

    @classmethod
    def installed(cls) -> Declared:
        """What every installed optimizer declares."""
        from altgrad_core.registry.registry import installed

        return cls.by(entry.item for entry in installed() if entry.kind == "optimizer")

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def _is_of_text(table: Any) -> bool:
    return isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
