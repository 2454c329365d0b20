"""The processes that train one run together, and what they tell each other."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from altgrad_core.errors import ManifestError, RunError
from altgrad_core.running.parallel import rendezvous
from altgrad_core.running.parallel.parent import end_with_parent

_PLACE = re.compile(r"^\[\S+:\d+\] ")  # where in its source a library raised an error

PATIENCE = timedelta(minutes=30)


def refuse_uneven(accumulate: int, size: int) -> None:
    """Refuse a number of micro-batches that so many processes cannot share equally.

    Raises:
        ManifestError: naming the numbers that would do.
    """
    if accumulate % size:
        raise ManifestError(
            f"data.accumulate: is {accumulate}, which {size} processes cannot share equally; "
            f"expected a multiple of {size}, such as --set data.accumulate={size}"
        )


class Processes:
    """Process number `rank` of `size` that train one run. Process 0 writes to disk; all hold the same weights.

    Every method that communicates is called by all processes, in the same order.
    """

    rank = 0
    size = 1

    def share(self, count: int) -> range:
        """The part of `count` items that belongs to this process: contiguous, and equal for all."""
        each = count // self.size
        return range(self.rank * each, (self.rank + 1) * each)

    def gather(self, value: Any) -> list[Any]:
        """The plain data of every process, in the order of their ranks."""
        return [value]

    def gather_tensor(self, flat: Tensor) -> list[Tensor]:
        """The tensor of every process, in the order of their ranks; all have one shape and type."""
        return [flat]

    def sum(self, flat: Tensor) -> None:
        """Replace the tensor by the sum over processes, in whatever order is fastest."""

    def from_first(self, value: Any = None) -> Any:
        """The plain data that process 0 gives."""
        return value

    @contextmanager
    def leading(self) -> Iterator[None]:
        """Around all that process 0 does: if it ends before the others have begun, they end too."""
        yield

    def agree(self, facts: Mapping[str, str]) -> None:
        """Refuse to begin where processes differ in a fact.

        Raises:
            ManifestError: naming the fact and the processes.
        """
        first, *others = self.gather(dict(facts))
        for rank, theirs in enumerate(others, 1):
            for name in sorted(first.keys() | theirs.keys()):
                if first.get(name) != theirs.get(name):
                    raise ManifestError(
                        f"process {rank} has {name} {theirs.get(name, 'absent')}, process 0 has "
                        f"{first.get(name, 'absent')}; all processes of a run need the same"
                    )

    def refuse_uneven(self, accumulate: int) -> None:
        """Refuse a number of micro-batches that the processes cannot share equally.

        Raises:
            ManifestError: naming the numbers that would do.
        """
        refuse_uneven(accumulate, self.size)


ALONE = Processes()
"""A run on one process."""


class Group(Processes):
    """Several processes, connected by torch.distributed."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size
        self._has_begun = False

    def gather(self, value: Any) -> list[Any]:
        """See `Processes.gather`."""
        result: list[Any] = [None] * self.size
        with self._explained():
            torch.distributed.all_gather_object(result, value)
        return result

    def gather_tensor(self, flat: Tensor) -> list[Tensor]:
        """See `Processes.gather_tensor`."""
        result = [torch.empty_like(flat) for _ in range(self.size)]
        with self._explained():
            torch.distributed.all_gather(result, flat)
        return result

    def sum(self, flat: Tensor) -> None:
        """See `Processes.sum`."""
        with self._explained():
            torch.distributed.all_reduce(flat)

    def from_first(self, value: Any = None) -> Any:
        """See `Processes.from_first`."""
        box = [value]
        with self._explained():
            torch.distributed.broadcast_object_list(box, src=0)
        self._has_begun = True
        return box[0]

    @contextmanager
    def leading(self) -> Iterator[None]:
        """See `Processes.leading`."""
        try:
            yield
        finally:
            if not self._has_begun:
                self.from_first(None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A lost connection ends the run with one message."""
        try:
            yield
        except RuntimeError as error:  # every error of torch.distributed
            reason = _PLACE.sub("", str(error)).strip().splitlines()[0].split(". ")[0]
            raise RunError(f"process {self.rank} of {self.size} lost the others: {reason}") from error


def join() -> Processes:
    """The processes that the environment names, as `torchrun` and `altgrad run --processes` set it; else this one alone.

    Raises:
        ManifestError: the environment is incomplete, process 0 cannot be reached, or torch cannot connect processes.
        RunError: the others cannot be reached.
    """
    if (size := rendezvous.size()) == 1:
        return ALONE
    end_with_parent()
    if torch.distributed.is_initialized():
        return Group(torch.distributed.get_rank(), torch.distributed.get_world_size())
    rank, backend = rendezvous.rank(), _backend()
    method = rendezvous.method(rank)
    group = Group(rank, size)
    with group._explained():
        if (attempt := rendezvous.attempt()) == 0:
            torch.distributed.init_process_group(
                backend, init_method=method, rank=rank, world_size=size, timeout=PATIENCE
            )
        else:
            shared, _, _ = next(torch.distributed.rendezvous(method, rank, size, timeout=PATIENCE))  # type: ignore[attr-defined]
            store = torch.distributed.PrefixStore(f"attempt {attempt}", shared)  # type: ignore[attr-defined]
            torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return group


def _backend() -> str:
    """What connects the processes: gloo, and nccl for tensors on GPUs."""
    needed = ["gloo", "nccl"] if torch.cuda.is_available() else ["gloo"]
    for name in needed:
        if not (torch.distributed.is_available() and torch.distributed.is_backend_available(name)):
            hint = 'hide the GPUs with CUDA_VISIBLE_DEVICES=""' if name == "nccl" else "install a build that has it"
            raise ManifestError(f"several processes need {name}, which this build of torch does not have; {hint}")
    return "cpu:gloo,cuda:nccl" if "nccl" in needed else "gloo"


def local_rank() -> int:
    """The number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))
