"""Executors: where the cells of a study are trained."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from altgrad_core import Executor, ExecutorSpec, ManifestPath, hookimpl


class Local(ExecutorSpec):
    """Processes on this machine: the default executor of a study."""

    name: ClassVar = "local"

    def build(self, jobs: int) -> Executor:
        """`jobs` worker processes, started as they are needed."""
        from altgrad_core import WorkerProcesses

        return WorkerProcesses(jobs)


class Ray(ExecutorSpec):
    """A Ray cluster whose machines share the directory of the study.

    Every machine sees it under the same path.

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


class Slurm(ExecutorSpec):
    """A Slurm cluster, with one job for each cell, by submitit.

    Every machine sees the directory of the study.

    Attributes:
        cpus: for each cell; it trains with as many threads, unless `run.threads` says otherwise.
        gpus: for each cell.
        memory: for each cell, in GiB; by default what the cluster gives.
        hours: the time limit of a job. A cell that needs longer is continued in the next job, and fails after the second.
        partition: of the cluster; by default its default one.
        account: that the jobs are charged to.
        folder: where scripts, logs and messages of the jobs go; shared by all machines, like the study.
        cluster: `local` runs the jobs as processes of this machine, to try it out.
    """

    name: ClassVar = "slurm"
    cpus: PositiveInt = 1
    gpus: NonNegativeInt = 0
    memory: PositiveFloat | None = None
    hours: PositiveFloat = 24.0
    partition: str | None = None
    account: str | None = None
    folder: ManifestPath = Path("slurm")
    cluster: Literal["slurm", "local"] = "slurm"

    def build(self, jobs: int) -> Executor:
        """Check that Slurm is here; `jobs` are queued or running at a time."""
        from altgrad_executors.slurm_jobs import SlurmJobs

        options = {
            "name": "altgrad",
            "timeout_min": math.ceil(60 * self.hours),
            "cpus_per_task": self.cpus,
            "gpus_per_node": self.gpus or None,
            "mem_gb": self.memory,
            "slurm_partition": self.partition,
            "slurm_account": self.account,
        }
        parameters = {name: value for name, value in options.items() if value is not None}
        return SlurmJobs(self.folder.absolute(), jobs=jobs, cluster=self.cluster, parameters=parameters)


@hookimpl
def altgrad_executors() -> Iterable[type[ExecutorSpec]]:
    """The executors of this package."""
    yield Local
    yield Ray
    yield Slurm
