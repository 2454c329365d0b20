"""Several processes that train one run, forked from this one; they find each other by a file."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from altgrad_core.running.parallel import rendezvous
from altgrad_core.running.parallel.processes import Processes, join


def together(size: int, folder: Path, work: Callable[[Processes], int]) -> list[int]:
    """Do `work` in `size` processes; what each returned, 99 where it raised."""
    meeting = folder / f"rendezvous-{len(list(folder.glob('rendezvous-*')))}"
    sys.stdout.flush()
    children = [_fork(rank, size, meeting, work) for rank in range(size)]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _fork(rank: int, size: int, meeting: Path, work: Callable[[Processes], int]) -> int:
    if (child := os.fork()) > 0:
        return child
    code = 99
    places = {"RANK": str(rank), "WORLD_SIZE": str(size), rendezvous.FILE: str(meeting), "GLOO_SOCKET_IFNAME": "lo"}
    try:
        with mock.patch.dict(os.environ, places):
            torch.set_num_threads(1)
            code = work(join())
            if size > 1:
                torch.distributed.destroy_process_group()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
