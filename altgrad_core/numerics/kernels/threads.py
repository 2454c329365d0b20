"""Work on disjoint parts of an array, on as many threads as torch uses; results do not depend on how many, nor on their modes."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar

import torch

from altgrad_core.numerics.random import GROUP
from altgrad_core.numerics.subnormals import flushes_subnormals, set_flushing

WORTH_A_THREAD = 1 << 18  # elements: below, handing over the work costs more than it saves

Numbers = Sequence[int]
Chunk = Callable[[int, int], Numbers]
Given = ParamSpec("Given")
Result = TypeVar("Result")


def in_chunks(work: Chunk, size: int, unit: int) -> Numbers:
    """Call `work(start, stop)` for parts of `size` elements that begin at multiples of `unit`.

    Returns:
        The largest of the first numbers that it returned, and the sums of the others.
    """
    if size < 2 * WORTH_A_THREAD:
        return work(0, size)
    threads = min(torch.get_num_threads(), size // WORTH_A_THREAD)
    if threads < 2 or (step := math.lcm(unit, 4 * GROUP)) * threads > size:
        return work(0, size)
    length = -(-size // (step * threads)) * step
    parts = [(start, min(start + length, size)) for start in range(0, size, length)]
    work = with_subnormals(work)
    others = [_pool(os.getpid(), torch.get_num_threads()).submit(work, *part) for part in parts[1:]]
    columns = list(zip(work(*parts[0]), *(other.result() for other in others), strict=True))
    return [*map(max, columns[:1]), *map(sum, columns[1:])]


def with_subnormals(work: Callable[Given, Result]) -> Callable[Given, Result]:
    """`work` in a thread that keeps subnormal numbers: where it flushes them to zero, not before the work is over.

    The mode is one of each thread, and any library may set it.
    """

    @wraps(work)
    def kept(*arguments: Given.args, **options: Given.kwargs) -> Result:
        if not flushes_subnormals():
            return work(*arguments, **options)
        set_flushing(False)
        try:
            return work(*arguments, **options)
        finally:
            set_flushing(True)

    return kept


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process beside the caller's: after a fork the child makes its own."""
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="altgrad")
