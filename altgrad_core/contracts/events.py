"""Events: frozen facts in the past tense, which monitors observe. Costly facts are computed when first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from altgrad_core.contracts.actions import Role
    from altgrad_core.numerics.format import Format
    from altgrad_core.numerics.geometry import Geometry
    from altgrad_core.numerics.tally import Tally

WHOLE_MODEL = "*"
"""The layer name of a reading that belongs to no single layer."""


@dataclass(frozen=True)
class Weight:
    """The weight of one layer around one optimizer step.

    Attributes:
        path: the layer, such as `blocks.0.attn.qkv`.
        after: the weight now, detached; shape (out, in). Read it, never write it.
        gradient: of the same shape, or None: as the optimizer saw it, or at `Backpropagated`, before it is clipped.
        before: the weight before the step; only for monitors with `needs = {"before"}`, else None.
        geometry: the grid at the scale in force when the step was taken; None where the weight is not quantized.
        rungs_before: the nearest rung of every element before the step, int32; only with `needs = {"rungs"}`.
    """

    path: str
    after: Tensor
    gradient: Tensor | None = None
    before: Tensor | None = None
    geometry: Geometry | None = None
    rungs_before: Tensor | None = None
    _known: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What `compute` gave when it was first asked for under this name: computed once for all monitors."""
        if name not in self._known:
            self._known[name] = compute()
        return self._known[name]

    @cached_property
    def rungs_after(self) -> Tensor | None:
        """The nearest rung of every element after the step, int32, at the same scale as `rungs_before`."""
        return None if self.geometry is None else self.geometry.rung(self.after)


@dataclass(frozen=True)
class RoundedOperand:
    """One operand of a quantized layer at its last training pass.

    Attributes:
        path, role, format: which layer, which operand, and the format in force.
        scale: the scale it was quantized at, float32 of shape (), or one of each block of each row.
        tally: amax and the counts of all training passes of that step; None before the first.
    """

    path: str
    role: Role
    format: Format
    scale: Tensor
    tally: Tally | None


class View(Protocol):
    """What the run offers to look at; shared by all monitors of one event."""

    @property
    def steps(self) -> int: ...

    def epochs(self, step: int) -> float: ...

    def weights(self, layers: str) -> Iterator[Weight]: ...

    def operands(self, layers: str) -> Iterator[RoundedOperand]: ...

    def twin(self) -> dict[str, Tensor]: ...

    def hvp(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Event:
    """Something that happened at `step`, counted in optimizer steps from 1 (0: before the first)."""

    step: int
    view: View = field(repr=False)

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole run, if nothing stops it."""
        return self.view.steps

    @property
    def epochs(self) -> float:
        """How often the training data have been passed through after this step; 1.5 is the middle of the second pass."""
        return self.view.epochs(self.step)

    def weights(self, layers: str = "*") -> Iterator[Weight]:
        """The weight of every layer that matches the pattern (`fnmatch`, several separated by `|`), model order."""
        return self.view.weights(layers)

    def operands(self, layers: str = "*") -> Iterator[RoundedOperand]:
        """The quantized operands of every layer that matches the pattern."""
        return self.view.operands(layers)


@dataclass(frozen=True)
class Began(Event):
    """The run is assembled; nothing has been trained yet."""


@dataclass(frozen=True)
class StepEvent(Event):
    """Something that happened in a training step, whose batch is at hand.

    The float32 twin is the same model at the weights as they are now, on all micro-batches of the step, in training
    mode and with the same dropout, without any quantization. It leaves no trace in the run.
    """

    def twin(self) -> dict[str, Tensor]:
        """The twin's gradient of the weight of every layer, by path, before clipping; computed once for all monitors.

        A layer whose weight is not trained, or which the loss does not depend on, is absent. Read them, never write
        them. Costs about one unquantized step.
        """
        return self.view.twin()

    def hvp(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The Hessian of the twin's loss, times `v`, both by layer; every weight that is not in `v` is held fixed.

        Attention is computed the plain way, so that it can be differentiated twice; on CUDA its dropout then draws
        otherwise than in `twin`.

        Args:
            v: a direction for the weights of some layers, each of the shape of its weight.

        Raises:
            ValueError: a layer does not exist, or two share one weight.
        """
        return self.view.hvp(v)


@dataclass(frozen=True)
class Backpropagated(StepEvent):
    """The gradients of one step are complete, before clipping and before the update."""

    loss: float
    gradient_norm: float


@dataclass(frozen=True)
class Updated(StepEvent):
    """The optimizer has taken one step."""

    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Evaluated(Event):
    """The validation loss was measured, in nats per token."""

    loss: float


@dataclass(frozen=True)
class Ended(Event):
    """The run is over: `finished`, `diverged` or `stopped`."""

    status: str


EVENTS: tuple[type[Event], ...] = (Began, Backpropagated, Updated, Evaluated, Ended)
