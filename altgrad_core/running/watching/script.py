"""What is known of a training script that is watched: the tables of its manifest, and its first and last records."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from altgrad_core.contracts.actions import Role
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.pattern import matches
from altgrad_core.errors import ManifestError
from altgrad_core.manifest.explain import validated
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.registry.discover import Plugin
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.scripted import SCRIPT
from altgrad_core.running.assembly.written import recipe_tables
from altgrad_core.running.model.layers import QuantizedModule, quantized_modules
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.session.describe import format_facts, reading_facts

PLAIN = (bool, int, float, str)


@dataclass(frozen=True)
class Script:
    """A model and an optimizer in a training loop of one's own.

    Attributes:
        steps: optimizer steps in all; 0 where that is not known.
        layers: the operands of every quantized layer, by path and role.
    """

    name: str
    model: nn.Module
    optimizer: Optimizer
    monitors: tuple[Monitor, ...]
    plugins: tuple[Plugin, ...]
    steps: int
    layers: Mapping[str, Mapping[Role, Operand]]

    def operands(self, pattern: str = "*") -> list[Operand]:
        """Every operand of the layers that match a pattern, in model order."""
        result = [operands for path, operands in self.layers.items() if matches(pattern, path)]
        return [operand for operands in result for operand in operands.values()]

    def modules(self) -> dict[str, QuantizedModule]:
        """The quantized modules by path."""
        return {path: module for path, module in self.model.named_modules() if isinstance(module, QuantizedModule)}

    def manifest(self) -> dict[str, Any]:
        """What is known of it, in the tables of a manifest; `script` tells it from a run that can be repeated."""
        group = self.optimizer.param_groups[0]
        options = {key: value for key, value in group.items() if key != "params" and isinstance(value, PLAIN)}
        chosen = {path: {role: o.quantizer for role, o in roles.items()} for path, roles in self.layers.items()}
        seed = next((module.quantized.moment.seed for module in quantized_modules(self.model)), None)
        return {
            SCRIPT: {"path": str(Path(sys.argv[0] or "-"))},
            "run": {"name": self.name, "steps": self.steps, **({} if seed is None else {"seed": seed})},
            "model": {"use": _import_path(self.model)},
            "data": {"use": SCRIPT},
            "optimizer": {"use": _import_path(self.optimizer), **options},
            "recipe": recipe_tables(chosen),
            "monitor": [{"use": monitor.name, **monitor.written()} for monitor in self.monitors],
        }

    def began(self) -> dict[str, Any]:
        """The first record."""
        return {
            "kind": "began",
            "name": self.name,
            "steps": self.steps,
            **self._facts(),
            "readings": reading_facts(self.monitors),
        }

    def summary(self, ended: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """The content of `summary.json`."""
        values = {key: value for key, value in ended.items() if key != "kind"}
        own = {"name": self.name, "tokens": None, "seconds_in_this_process": round(seconds, 3)}
        return {**values, **own, **self._facts()}

    def _facts(self) -> dict[str, Any]:
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        task = {"name": SCRIPT, "unit": "", "counts": "tokens", "initial_loss": None}  # the script alone knows
        return {"parameters": trained, "data": {}, "task": task, "formats": format_facts(self.operands())}


def ended(status: str, reason: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The last record, with the step and the losses of `told`."""
    return {
        "kind": "ended",
        "status": status,
        "reason": reason,
        "perplexity": None,
        "metrics": {},
        "switches": 0,
        **values,
    }


def operands_of(model: nn.Module) -> dict[str, dict[Role, Operand]]:
    """The operands of every quantized layer of a model, by path and role."""
    result: dict[str, dict[Role, Operand]] = {}
    for module in quantized_modules(model):
        for operands in module.quantized.products.values():
            for role, operand in operands.items():
                result.setdefault(operand.path, {})[role] = operand
    return result


def monitors_of(
    entries: Sequence[str | Mapping[str, Any] | Monitor], registry: Registry, every: int | None
) -> tuple[tuple[Monitor, ...], tuple[Plugin, ...]]:
    """Monitors by name, as tables with `use`, or as values; and their plugins.

    Args:
        every: of those that do not set it themselves.

    Raises:
        ManifestError: a table has an option that its monitor refuses.
        PluginError: no such monitor is installed.
    """
    if isinstance(entries, str | Mapping | Monitor):
        raise ManifestError(f'monitors: expected a list, as ["flips"], and {entries!r} is none')
    monitors: list[Monitor] = []
    plugins: dict[str, Plugin] = {}
    for index, entry in enumerate(entries):
        if isinstance(entry, Monitor):
            monitors.append(entry)
            continue
        table = {"use": entry} if isinstance(entry, str) else dict(entry)
        if not isinstance(name := table.pop("use", None), str):
            raise ManifestError(f'monitors[{index}]: expected a name or a table with "use", got {entry!r}')
        result = registry.entry("monitor", name)
        plugins[result.plugin.source] = result.plugin
        paced = table if every is None else {"every": every, **table}
        data: dict[str, Any] = {"monitors": [{}] * index + [paced]}
        source = ManifestFile(Path("watch"), "", data)
        monitors.append(validated(result.item, paced, source, ("monitors", index)))
    return tuple(monitors), tuple(plugins.values())


def _import_path(thing: object) -> str:
    """`module:Class`, with the shortest module that offers the class."""
    cls = thing.plain if isinstance(thing, QuantizedModule) else type(thing)
    parts = cls.__module__.split(".")
    modules = [".".join(parts[: length + 1]) for length in range(len(parts))]
    offers = (name for name in modules if getattr(sys.modules.get(name), cls.__qualname__, None) is cls)
    return f"{next(offers, cls.__module__)}:{cls.__qualname__}"
