"""Look up what one table of a manifest names, and validate its options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.contracts.options import Options
from altgrad_core.errors import AltgradError, FormatError, ManifestError, reason_of
from altgrad_core.manifest.explain import Problems, problem_at, validated
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.recipe_schema import InlineFormat, QuantizerTable, RecipeTable
from altgrad_core.manifest.schema import OptimizerTable, UseTable
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.registry.discover import Plugin
from altgrad_core.registry.registry import Registry, suggestion
from altgrad_core.running.assembly.factory import FactoryModel
from altgrad_core.running.assembly.groups import Group
from altgrad_core.running.assembly.import_path import imported
from altgrad_core.running.assembly.imported_optimizer import imported_optimizer
from altgrad_core.running.model.recipe import Rule

_IMPORT_HINTS = {
    "model": '; a function of your own is written "module:function"',
    "optimizer": '; any other class is written "module:Class", such as "torch.optim:NAdam"',
}


@dataclass(frozen=True)
class Finder:
    """Finds what the tables of one manifest name.

    Attributes:
        used: the plugins that were found, by their source.
    """

    source: ManifestFile
    registry: Registry
    used: dict[str, Plugin] = field(default_factory=dict)

    def get(self, kind: str, name: str) -> Any:
        """An installed thing; its plugin is noted as used."""
        entry = self.registry.entry(kind, name)
        self.used[entry.plugin.source] = entry.plugin
        return entry.item

    def error(self, location: Location, message: object) -> ManifestError:
        """A mistake at this place of the manifest."""
        return ManifestError(problem_at(self.source, location, str(message)))

    def options(self, kind: str, table: UseTable, location: Location) -> Any:
        """The options in `table` as the plugin of this kind that `use` names."""
        try:
            cls: type[Options] = self.get(kind, table.use)
        except AltgradError as error:
            hint = "" if "did you mean" in str(error) else _IMPORT_HINTS.get(kind, "")
            raise self.error((*location, "use"), f"{error}{hint}") from None
        return validated(cls, table.options, self.source, location)

    def model(self, table: UseTable) -> ModelSpec:
        """The options of the model, or the function that makes one."""
        if ":" not in table.use:
            spec: ModelSpec = self.options("model", table, ("model",))
            return spec
        try:
            factory = imported(table.use)
        except AltgradError as error:
            raise self.error(("model", "use"), error) from None
        if not callable(factory):
            raise self.error(
                ("model", "use"), f'"{table.use}" is {factory!r}; expected a function that makes an nn.Module'
            )
        options = dict(table.options)
        self._check_factory_options(factory, options, table.use)
        block_size = options.get("block_size", 128)
        if not isinstance(block_size, int) or isinstance(block_size, bool) or block_size < 1:
            raise self.error(("model", "block_size"), f"expected a positive integer, got {block_size!r}")
        return FactoryModel(factory=factory, options=options, block_size=block_size)

    def _check_factory_options(self, factory: Any, options: dict[str, Any], name: str) -> None:
        try:
            parameters = inspect.signature(factory).parameters
        except ValueError:
            raise self.error(("model", "use"), f"{name} does not tell its parameters; wrap it in a function") from None
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return
        for key in options:
            if key not in parameters and key != "block_size":
                raise self.error(("model", key), f'{name} takes no "{key}"{suggestion(key, parameters)}')
        for key, parameter in parameters.items():
            positional = parameter.kind is not parameter.VAR_POSITIONAL
            if positional and parameter.default is parameter.empty and key not in {*options, *FactoryModel.FILLED_IN}:
                raise self.error(("model", key), f"missing; {name} needs it")

    def optimizer(self, table: UseTable, location: Location) -> OptimizerSpec:
        """An installed optimizer, or one by import path that has taken a step with these options."""
        if ":" not in table.use:
            spec: OptimizerSpec = self.options("optimizer", table, location)
            return spec
        try:
            cls = imported_optimizer(table.use)
        except AltgradError as error:
            raise self.error((*location, "use"), error) from None
        made = validated(cls, table.options, self.source, location)
        if (refusal := made.refusal()) is not None:
            raise self.error((*location, *refusal.key), refusal.message)
        return made

    def groups(self, table: OptimizerTable) -> tuple[Group, ...]:
        """The groups of parameters, each with its optimizer."""
        return tuple(
            Group(
                group.layers,
                self.optimizer(group.over(table.use, table.options), ("optimizer", "group", index)),
                group.only,
            )
            for index, group in enumerate(table.group)
        )

    def rule(self, table: RecipeTable, location: Location) -> Rule:
        """The rule at a place of the manifest, with its formats.

        Raises:
            ManifestError: a line for each quantizer that cannot be.
        """
        quantizers, problems = {}, Problems()
        for role in ROLES:
            if (choice := getattr(table, role)) is not None:
                with problems.noted():
                    quantizers[role] = self._quantizer(choice, (*location, role))
        problems.refuse()
        return Rule(table.layers, **quantizers)

    def _quantizer(self, table: QuantizerTable, location: Location) -> Quantizer:
        format, scaling = self.format(table.format, (*location, "format")), self._scaling(table, location)
        try:
            return Quantizer(
                format=format,
                rounding=table.rounding,
                scaling=scaling,
                overflow=table.overflow,
                straight_through=table.straight_through,
                nonfinite=table.nonfinite,
                hadamard=table.hadamard,
                hadamard_signs=table.hadamard_signs,
            )
        except FormatError as error:  # as below
            raise self.error(location, error) from None

    def _scaling(self, table: QuantizerTable, location: Location) -> Scaling:
        try:
            return Scaling(
                kind=table.scaling,
                rounding=table.scale_rounding,
                history=table.history,
                margin=table.margin,
                granularity=table.granularity,
                scale_format=table.scale_format,
            )
        except FormatError as error:  # each choice is possible, but not these together
            raise self.error(location, error) from None

    def format(self, choice: str | InlineFormat, location: Location) -> Format:
        """A registered or inline format that has been looked at: its table is computed here, not at step 0."""
        try:
            if isinstance(choice, InlineFormat):
                return self._inline(Minifloat(**choice.model_dump()))
            result: Format = self.get("format", choice)
            if not result.is_identity:
                _ = result.grid
        except AltgradError as error:
            raise self.error(location, error) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the decode of a plugin: whatever it raises is its own failure
            raise self.error(location, f'format "{choice}" cannot decode: {reason_of(error)}') from None
        return result

    def _inline(self, format: Format) -> Format:
        """A format given by its facts, unless it takes the name of another."""
        if format.name in self.registry.names("format"):
            registered = self.registry.get("format", format.name).facts()
            if registered != format.facts():
                raise FormatError(f'"{format.name}" is the name of a registered format, {registered}; choose another')
        return format
