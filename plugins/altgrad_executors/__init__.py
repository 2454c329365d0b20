"""Executors: where the cells of a study are trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from altgrad_core import Executor, ExecutorSpec, hookimpl


class Local(ExecutorSpec):
    """Processes of this machine; what a study uses unless it names another executor."""

    name: ClassVar = "local"

    def build(self, jobs: int) -> Executor:
        """`jobs` worker processes, started as they are needed."""
        from altgrad_core import WorkerProcesses

        return WorkerProcesses(jobs)


@hookimpl
def altgrad_executors() -> Iterable[type[ExecutorSpec]]:
    """The executors of this package."""
    yield Local
