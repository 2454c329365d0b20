"""A manifest with every name replaced by what it means; a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from altgrad_core.contracts.dataset import DatasetSpec
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.contracts.tracker import TrackerSpec
from altgrad_core.errors import ManifestError
from altgrad_core.manifest.explain import problem_at
from altgrad_core.manifest.lines import Location
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.schema import Manifest
from altgrad_core.registry.discover import Plugin
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.groups import Group
from altgrad_core.running.model.recipe import Rule


@dataclass(frozen=True)
class Evaluation:
    """A recipe that the weights are evaluated under when training has ended."""

    name: str
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Resolved:
    """A manifest with every name replaced by the installed thing it means."""

    source: ManifestFile
    manifest: Manifest
    model: ModelSpec
    data: DatasetSpec
    optimizer: OptimizerSpec
    rules: tuple[Rule, ...]
    monitors: tuple[Monitor, ...]
    interventions: tuple[Intervention, ...]
    trackers: tuple[TrackerSpec, ...]
    registry: Registry
    plugins: tuple[Plugin, ...]
    groups: tuple[Group, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()

    @property
    def name(self) -> str:
        """The name of the run: that of the manifest, or of its file."""
        return self.manifest.run.name or self.source.path.stem

    def optimizers(self) -> Iterator[tuple[Location, OptimizerSpec]]:
        """Every optimizer and its place in the manifest."""
        yield ("optimizer",), self.optimizer
        yield from ((("optimizer", "group", index), group.spec) for index, group in enumerate(self.groups))

    def error(self, location: Location, message: str) -> ManifestError:
        """A mistake in the manifest, with file, line and key."""
        return ManifestError(problem_at(self.source, location, message))
