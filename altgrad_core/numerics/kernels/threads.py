"""Work on disjoint parts of an array, on as many threads as torch uses; results do not depend on how many."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from altgrad_core.numerics.random import GROUP

Array = np.ndarray[Any, Any]
WORTH_A_THREAD = 1 << 18  # elements: below, handing over the work costs more than it saves
COUNTS = 5  # amax bits and four counts

Chunk = Callable[[int, int, Array], None]


def in_chunks(work: Chunk, size: int, unit: int) -> list[int]:
    """Call `work(start, stop, counts)` for parts of `size` elements that begin at multiples of `unit`.

    Returns:
        The largest of the first counts, and the sums of the others.
    """
    threads = min(torch.get_num_threads(), size // WORTH_A_THREAD)
    if threads < 2 or (step := math.lcm(unit, 4 * GROUP)) * threads > size:
        counts = np.zeros(COUNTS, np.int64)
        work(0, size, counts)
        return counts.tolist()
    length = -(-size // (step * threads)) * step
    starts = range(0, size, length)
    each = np.zeros((len(starts), COUNTS), np.int64)
    parts = [(start, min(start + length, size), mine) for start, mine in zip(starts, each, strict=True)]
    others = [_pool(os.getpid(), torch.get_num_threads()).submit(work, *part) for part in parts[1:]]
    work(*parts[0])
    for other in others:
        other.result()
    return [int(each[:, 0].max()), *each[:, 1:].sum(axis=0).tolist()]


@lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """The threads of this process beside the caller's: after a fork the child makes its own."""
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="altgrad")
