"""Which executor a study uses: the one that its manifest names, or processes of this machine."""

from __future__ import annotations

from altgrad_core.contracts.executor import Executor
from altgrad_core.experiments.workers.processes import WorkerProcesses
from altgrad_core.manifest.explain import validated
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.schema import UseTable
from altgrad_core.registry.registry import Registry
from altgrad_core.running.assembly.finder import Finder


def executor_of(source: ManifestFile, registry: Registry, *, jobs: int) -> Executor:
    """The executor of a study, for so many cells at a time.

    Raises:
        ManifestError: `[executor]` names none that is installed, or has a bad option.
        PluginError: what it connects to is not there.
    """
    if "executor" not in source.data:
        return WorkerProcesses(jobs)
    table = validated(UseTable, source.data["executor"], source, ("executor",))
    executor: Executor = Finder(source, registry).options("executor", table, ("executor",)).build(jobs)
    return executor
