"""Tensors whose parts lie on several processes: torch's DTensor, as `fully_shard` makes of parameters.

What an element becomes on its own is computed by the process that has it. What needs a whole tensor gathers it, one
tensor at a time. All processes must call these functions in the same order.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def is_sharded(x: object) -> bool:
    """Whether it is a DTensor; nothing is one before torch's module of them is loaded."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def own(x: Any) -> Any:
    """The part of a sharded tensor that this process has, sharing its memory; anything else as it is."""
    return x.to_local() if is_sharded(x) else x


def gathered(x: Tensor) -> Tensor:
    """All elements of a sharded tensor, in every process; another tensor as it is."""
    return x.full_tensor() if is_sharded(x) else x  # type: ignore[attr-defined]


def placed(part: Tensor, like: Any) -> Tensor:
    """The sharded tensor, of the shape of `like`, of which every process has such a part."""
    from torch.distributed.tensor import DTensor

    shape, stride = like.shape, like.stride()
    return DTensor.from_local(part, like.device_mesh, like.placements, run_check=False, shape=shape, stride=stride)


def sharded_as(x: Tensor, like: Any) -> Tensor:
    """A tensor that every process has whole, sharded as `like` is, whose shape it has or broadcasts to.

    It needs no communication. Where `like` is not sharded, `x` as it is.
    """
    from torch.distributed.tensor import distribute_tensor

    if not is_sharded(like):
        return x
    return distribute_tensor(x.expand(like.shape), like.device_mesh, like.placements, src_data_rank=None)


def part_of(x: Tensor, like: Any) -> Tensor:
    """What this process has of `sharded_as(x, like)`; a single number as it is."""
    part: Tensor = x if x.numel() == 1 else own(sharded_as(x, like))
    return part


def total(numbers: Tensor, like: Any) -> Tensor:
    """The sums over the processes among which the elements of `like` are shared."""
    from torch.distributed.tensor import DTensor, Partial, Replicate

    each = [Partial() if placement.is_shard() else Replicate() for placement in like.placements]
    return DTensor.from_local(numbers, like.device_mesh, each, run_check=False).full_tensor()
