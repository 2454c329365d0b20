"""From the parts of a stream to the launch of the kernel that hashes its key."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from altgrad_core.numerics.random import stream_text
from altgrad_core.numerics.triton.keys import CALL, MICRO_BATCH, key_pass
from altgrad_core.numerics.triton.launch import launch


def key(stream: tuple[str | int, ...], replica: int, step: Tensor, call: Tensor) -> Tensor:
    """See `reference.key`."""
    out = torch.empty((), dtype=torch.int64, device=step.device)
    text, prefix, rest = _text(stream, replica, step.device)
    launch(key_pass, 1, step, out, text, _powers(step.device), step, call, prefix, rest, warps=1)
    return out


@lru_cache(maxsize=4096)
def _text(stream: tuple[str | int, ...], replica: int, device: torch.device) -> tuple[Tensor, int, int]:
    """The text of a key without its numbers; the lengths of what comes before and after them."""
    prefix = f"{stream_text(*stream)}/".encode()
    rest = f"/{stream_text('replica', replica)}".encode() if replica else b""
    letters = [*prefix, *MICRO_BATCH.encode(), *CALL.encode(), *rest]
    return torch.tensor(letters, dtype=torch.uint8, device=device), len(prefix), len(rest)


@lru_cache(maxsize=64)
def _powers(device: torch.device) -> Tensor:
    return torch.tensor([10**power for power in range(19)], device=device)
