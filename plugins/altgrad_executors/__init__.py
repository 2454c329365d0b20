"""Executors: where the cells of a study are trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, field_validator

from altgrad_core import Executor, ExecutorSpec, hookimpl


class Local(ExecutorSpec):
    """Processes of this machine; what a study uses unless it names another executor."""

    name: ClassVar = "local"

    def build(self, jobs: int) -> Executor:
        """`jobs` worker processes, started as they are needed."""
        from altgrad_core import WorkerProcesses

        return WorkerProcesses(jobs)


class Ray(ExecutorSpec):
    """A Ray cluster; every machine of it sees the directory of the study under the same path.

    Attributes:
        address: `host:port` of the cluster; by default that in the environment variable RAY_ADDRESS.
        cpus: reserved for each cell; it trains with as many threads, unless `run.threads` says otherwise.
        gpus: reserved for each cell; a part of one, such as 0.5, is shared.
        memory: reserved for each cell, in GiB; by default none is.
    """

    name: ClassVar = "ray"
    address: str | None = None
    cpus: PositiveFloat = 1.0
    gpus: NonNegativeFloat = 0.0
    memory: PositiveFloat | None = None

    @field_validator("cpus", "gpus")
    @classmethod
    def _is_a_share_or_whole(cls, amount: float) -> float:
        if amount > 1 and amount != int(amount):
            raise ValueError(f"{amount:g}: above 1, Ray reserves whole numbers only")
        return amount

    def build(self, jobs: int) -> Executor:
        """Connect to the cluster, for `jobs` cells at a time."""
        from altgrad_executors.ray_cluster import RayCluster, address_of

        request = {"num_cpus": self.cpus, "num_gpus": self.gpus, "memory": int((self.memory or 0) * 2**30)}
        return RayCluster(address_of(self.address), jobs=jobs, request=request)


@hookimpl
def altgrad_executors() -> Iterable[type[ExecutorSpec]]:
    """The executors of this package."""
    yield Local
    yield Ray
