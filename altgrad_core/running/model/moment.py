"""Where training stands, and what is shared by the operands of a plan until a step is over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.tally import Quantized, Tally


@dataclass(frozen=True)
class Passed:
    """An activation that was rounded, for the next layer that takes the same one: q, k and v, say."""

    x: Callable[[], Tensor | None]
    version: int
    how: Quantizer
    scale: Tensor | None  # that was given
    done: Quantized

    def serves(self, x: Tensor, how: Quantizer, scale: Tensor | None) -> bool:
        """Whether rounding `x` would give the same again."""
        is_same = self.x() is x and self.version == version_of(x) and self.how == how
        if scale is None or self.scale is None:
            return is_same and scale is self.scale
        return is_same and torch.equal(self.scale, scale)


def identity_of(x: Tensor) -> tuple[int, int | None, int]:
    """The tensor, its version and its memory; within transforms of `torch.func` the memory is not known."""
    is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)
    return id(x), version_of(x), 0 if is_wrapped else x.data_ptr()


def version_of(x: Tensor) -> int | None:
    """How often autograd saw the memory of `x` change; None in inference mode, where it does not look."""
    return None if x.is_inference() else x._version


class Seen(NamedTuple):
    """What an operand saw in the micro-batches of one step that one process took.

    Attributes:
        tally: the counts; None where it was not rounded in this step.
        pending: the largest amax of the step, of delayed scaling.
        scale, amax, shape, block: of the last micro-batch.
    """

    tally: Tally | None
    pending: Tensor | None
    scale: Tensor
    amax: Tensor
    shape: torch.Size
    block: int | None


@dataclass
class Moment:
    """Where training stands; with the seed it names every random stream of the operands.

    `passed` is the last activation, until the step is over.
    """

    seed: int = 0
    phase: str = "train"
    step: int = 0
    micro_batch: int = 0
    passed: Passed | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "passed": None}
