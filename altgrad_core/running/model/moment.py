"""Where training stands, and what is shared by the operands of a plan until a step is over."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from altgrad_core.contracts.actions import MOMENTS, WEIGHTS, Role
from altgrad_core.errors import RunError
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import operand_key
from altgrad_core.numerics.tally import Quantized, Tally

MOST_CHANGES = 3
ONCE_A_STEP: tuple[Role, ...] = (*WEIGHTS, *MOMENTS)
"""The roles that every process and micro-batch rounds alike."""

STEP_MOMENT = "_step_moment"
"""The attribute of an optimizer that holds the `Moment` of its plan, which seeds its steps."""


@dataclass(frozen=True)
class Passed:
    """An activation that was rounded, for the next layer that takes the same one: q, k and v, say."""

    x: Callable[[], Tensor | None]
    version: int
    how: Quantizer
    scale: Tensor | None  # that was given
    done: Quantized

    def serves(self, x: Tensor, how: Quantizer, scale: Tensor | None) -> bool:
        """Whether rounding `x` would give the same again; elsewhere than on the CPU scales are not waited for to compare them."""
        is_same = self.x() is x and self.version == version_of(x) and self.how == how
        if scale is None or self.scale is None:
            return is_same and scale is self.scale
        return is_same and (scale is self.scale or (scale.device.type == "cpu" and torch.equal(self.scale, scale)))


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
        tally: the counts; None of the identity format.
        pending: the largest amax of the step, of delayed scaling.
        scale, amax, shape, like: of the last micro-batch; `shape` in rows, `like` of the tensor.
    """

    tally: Tally | None
    pending: Tensor | None
    scale: Tensor
    amax: Tensor
    shape: torch.Size
    like: torch.Size


def together(parts: Sequence[Seen | None], *, once: bool) -> Seen | None:
    """What all processes saw in one step, each its part of the micro-batches, in their order; None: nothing.

    Args:
        once: of a weight, which is rounded once a step, alike in every process that calls its layer.
    """
    result = [part for part in parts if part is not None][: 1 if once else None]
    if not result:
        return None
    tallies = [part.tally for part in result if part.tally is not None]
    pending = [part.pending for part in result if part.pending is not None]
    return result[-1]._replace(
        tally=reduce(Tally.plus, tallies) if tallies else None, pending=torch.stack(pending).max() if pending else None
    )


def refuse_capture(path: str, role: str, how: Quantizer) -> None:
    """Refuse to become part of a CUDA graph with what Python counts and a replay would not.

    Raises:
        RunError: the current stream is being captured, and the quantizer rounds by chance or by an earlier scale.
    """
    is_counted = how.mode.random_bits > 0 or how.scale_rule.kind == "delayed"
    if is_counted and torch.cuda.is_current_stream_capturing():
        raise RunError(
            f"the {role} of {path} is captured in a CUDA graph, which would repeat its random numbers and its delayed scale at "
            "every replay; capture the module of training_program(plan, ...), which keeps both in tensors"
        )


@dataclass
class Moment:
    """Where training stands; with the seed it names every random stream of the operands.

    `replica` is the rank of this process where each trains a replica on data of its own.
    `passed` is the last activation, until the step is over; `changes` says how often each weight changed since.
    """

    seed: int = 0
    phase: str = "train"
    step: int = 0
    micro_batch: int = 0
    replica: int = 0
    passed: Passed | None = None
    changes: dict[str, tuple[object, int]] = field(default_factory=dict)
    loads: int = 0  # how often a state was loaded, from where the steps go on
    is_calibrating: bool = False  # in evaluation, operands remember what they see, as in training
    is_forgotten: bool = False  # that a step is over; said once
    attached: tuple[object, RemovableHandle] | None = None  # the optimizer that says when a step is over, by this hook
    copied: tuple[int, int] | None = None  # step and loads when this copy was made
    is_changed: bool = False  # weights of this copy are others than when it was made
    keeps: tuple[bool, bool] = (False, False)  # whether operands keep a history, and whether they round by chance

    def load(self, step: int) -> None:
        """Go on from the step of a state that is loaded."""
        self.step, self.loads = step, self.loads + 1

    def expect(self, how: Quantizer) -> None:
        """An operand has this quantizer."""
        keeps_history, draws = self.keeps
        self.keeps = keeps_history or how.scale_rule.kind == "delayed", draws or how.mode.random_bits > 0

    def is_attached_to(self, optimizer: object) -> bool:
        """Whether this optimizer says when a step is over."""
        return self.attached is not None and self.attached[0] is optimizer

    def attach(self, optimizer: object, hook: RemovableHandle) -> None:
        """From now on this optimizer says by this hook when a step is over, and no other one does."""
        if self.attached is not None:
            self.attached[1].remove()
        self.attached = optimizer, hook

    @property
    def is_copy(self) -> bool:
        """Whether this is a copy of which no step was counted, and no state loaded, since it was made."""
        return self.copied is not None and self.copied == (self.step, self.loads)

    @property
    def is_void(self) -> bool:
        """Whether the histories of amax are those of other weights."""
        return self.is_changed and self.is_copy

    def notice_copy(self, path: str, *, training: bool) -> None:
        """The weights of a layer changed in a copy, as those of an average do; one that is trained should be counted."""
        self.is_changed = True
        if training and torch.is_grad_enabled() and any(self.keeps) and not (self.attached or self.is_forgotten):
            self.is_forgotten = True
            warnings.warn(
                f"the weights of {path} changed in a copy of a quantized model, and no step of the copy was counted: its delayed "
                "scaling keeps no history, and its noise repeats. Copy the plan together with the model, and attach it to the "
                "optimizer of the copy.",
                stacklevel=2,
            )

    def notice_weight(self, path: str, identity: tuple[int, int | None, int]) -> None:
        """A weight is rounded that was changed, or in a new step; one that changes on and on within a step is warned of."""
        place = (self.step, identity[0], identity[2])
        before, changes = self.changes.get(path, (None, 0))
        self.changes[path] = place, changes + 1 if before == place else 0
        if self.changes[path][1] >= MOST_CHANGES and not (self.is_copy or self.attached or self.is_forgotten):
            self.is_forgotten = True
            warnings.warn(
                f"the weight of {path} changed {MOST_CHANGES} times, and plan.step() was not called: call it after every "
                "optimizer.step(), or plan.attach(optimizer) once. Until then delayed scaling keeps no history and noise repeats.",
                stacklevel=2,
            )

    def key(self, kind: str, path: str, role: str, *, call: int, is_once: bool) -> int:
        """What names the random bits of a pass; `is_once`: of what every micro-batch and replica rounds alike."""
        stream = self.stream(kind, path, role)
        if is_once:
            return operand_key(stream, self.step, call=call)
        return operand_key(stream, self.step, micro_batch=self.micro_batch, call=call, replica=self.replica)

    def stream(self, kind: str, path: str, role: str) -> tuple[str | int, ...]:
        """The parts of a key that no step changes."""
        return self.seed, kind, self.phase, path, role

    def __getstate__(self) -> dict[str, Any]:
        alone: dict[str, Any] = {"passed": None, "attached": None, "changes": {}, "is_forgotten": False}
        return {**self.__dict__, **alone, "copied": (self.step, self.loads)}
