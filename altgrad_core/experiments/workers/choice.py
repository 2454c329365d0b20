"""Which executor a study uses: the one that its manifest names, or processes of this machine."""

from __future__ import annotations

from altgrad_core.contracts.executor import Executor, ExecutorSpec
from altgrad_core.errors import AltgradError, PluginError, place_of, reason_of
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
        PluginError: what it connects to is not there, or its plugin is wrong.
    """
    spec = executor_spec(source, registry)
    if spec is None:
        return WorkerProcesses(jobs)
    try:
        executor = spec.build(jobs)
    except AltgradError:
        raise
    except Exception as error:  # code of a plugin
        raise PluginError(f'executor "{spec.name}": build failed: {reason_of(error)}{place_of(error)}') from error
    if not isinstance(executor, Executor):
        raise PluginError(f'executor "{spec.name}": build returned {executor!r}; expected an Executor')
    return executor


def executor_spec(source: ManifestFile, registry: Registry) -> ExecutorSpec | None:
    """The executor that a manifest names, with its options, connected to nothing yet; None where it names none.

    Raises:
        ManifestError: `[executor]` names none that is installed, or has a bad option.
    """
    if "executor" not in source.data:
        return None
    table = validated(UseTable, source.data["executor"], source, ("executor",))
    spec: ExecutorSpec = Finder(source, registry).options("executor", table, ("executor",))
    return spec
