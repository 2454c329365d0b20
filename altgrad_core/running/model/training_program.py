"""A quantized model as a program of torch.export that trains in any process: what its operands remember are buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from altgrad_core.contracts.actions import GRADIENTS, MOMENTS
from altgrad_core.contracts.layer import APART
from altgrad_core.errors import RunError
from altgrad_core.numerics import library_codes  # noqa: F401  registers the operations
from altgrad_core.numerics.library_training import Memory, OperandText, round_operand
from altgrad_core.numerics.written import text_of
from altgrad_core.running.model.layout import Layout
from altgrad_core.running.model.moment import ONCE_A_STEP, Moment
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.program_params import STATE, memory_name, state_of

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class OperandBuffers(nn.Module):
    """The memory of one operand as buffers, and what it is as text."""

    history: Tensor
    scale: Tensor
    amax: Tensor
    counts: Tensor

    def __init__(self, operand: Operand, text: str, root: TrainingState) -> None:
        super().__init__()
        how, device, known = operand.quantizer, operand.scale.device, operand.state_dict()
        self.text, self.layout = text, Layout() if how.tiling.whole else operand.layout
        vars(self)["root"] = root  # no module of this one
        entries = how.scale_rule.history if how.scale_rule.kind == "delayed" else 0
        history = [0.0] * (entries - len(known["history"])) + known["history"]
        keeps_scale = known["is_fixed"] or operand.scale.ndim == 0 or operand.role == "weight"
        self.register_buffer("history", torch.tensor(history, dtype=torch.float32, device=device))
        self.register_buffer("scale", operand.scale.clone() if keeps_scale else torch.ones((), device=device))
        self.register_buffer("amax", torch.zeros(2, device=device))
        self.register_buffer("counts", torch.tensor([0] * 6 + [-1], device=device))

    @property
    def memory(self) -> Memory:
        """The buffers as they are now."""
        return Memory(self.history, self.scale, self.amax, self.counts, vars(self)["root"].step)

    def rounded(self, x: Tensor) -> Tensor:
        """`x` rounded; the gradient passes straight through."""
        return self.layout.back(round_operand(self.layout.rows(x), self.text, self.memory), x)

    def with_rounded_gradient(self, y: Tensor) -> Tensor:
        """`y` itself; its gradient is rounded."""
        rows = torch.ops.altgrad.operand_gradient(self.layout.rows(y), self.text, *self.memory)
        return self.layout.back(rows, y)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """x W^T + b of rounded operands; its gradient is rounded, that of b is not."""
        if not self.layout.is_plain:
            raise RunError(
                "a program that trains rounds the gradient of a matrix product in rows of its last dimension only"
            )
        y: Tensor = torch.ops.altgrad.operand_linear(x, weight, bias, self.text, *self.memory)
        return y


class TrainingState(nn.Module):
    """The number of the step, and the memory of each operand."""

    step: Tensor

    def __init__(self, operands: Mapping[str, Operand], moment: Moment) -> None:
        super().__init__()
        device = next((operand.scale.device for operand in operands.values()), None)
        self.register_buffer(
            "step", torch.tensor(moment.step, device=device)
        )  # with the rest, so that none is copied in a step
        for name, operand in operands.items():
            self.add_module(name, OperandBuffers(operand, _text(operand, moment), self))


def _text(operand: Operand, moment: Moment) -> str:
    return OperandText(
        text_of(operand.quantizer),
        stream=moment.stream("rounding", operand.path, operand.role),
        replica=moment.replica,
        is_once=operand.role in ONCE_A_STEP,
        is_fixed=operand.state_dict()["is_fixed"],
        keeps_infinities=operand.role in GRADIENTS and operand.quantizer.nonfinite == "auto",
    ).text()


class TrainingProgram(nn.Module):
    """A model with the memory of its operands: what is exported."""

    def __init__(self, model: nn.Module, state: TrainingState) -> None:
        super().__init__()
        self.model = model
        self.add_module(STATE, state)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model."""
        return self.model(*args, **kwargs)


def training_program(plan: Plan, *args: Any, **kwargs: Any) -> ExportedProgram:
    """A quantized model as a program of torch.export that trains, in any process, with the same bits.

    What its operands remember are buffers of the program, which begin as they are now; `step_program` ends a step. Moments are
    of the optimizer, and no part of it.

    Args:
        plan: of the model, which is in training mode and stays as it is.
        *args: what the model is called with.
        **kwargs: the same, by name.

    Raises:
        RunError: the model is in evaluation, or a layer has a gradient whose tiles a program cannot round, or the recipe
            has operands of a backward product alone, or Hadamard transforms.
    """
    if not plan.model.training:
        raise RunError(
            "training_program: the model is in evaluation; call model.train() first, or torch.export.export itself"
        )
    if (apart := next((o for o in plan.operands() if o.role in APART), None)) is not None:
        raise RunError(
            f"training_program: the recipe has the {apart.role} of {apart.path}; a program rounds each operand once, so leave out "
            f"{', '.join(APART)}"
        )
    if (turned := next((o for o in plan.operands() if o.quantizer.hadamard is not None), None)) is not None:
        raise RunError(
            f"training_program: the {turned.role} of {turned.path} has a Hadamard transform; leave hadamard out"
        )
    rounded = [o for o in plan.operands() if o.role not in MOMENTS and not o.format.is_identity]
    operands = {memory_name(operand): operand for operand in rounded}
    state = TrainingState(operands, plan.moment)
    with _within(state, operands):
        return torch.export.export(TrainingProgram(plan.model, state), args, kwargs)


@contextmanager
def _within(state: nn.Module, operands: Mapping[str, Operand]) -> Iterator[None]:
    """Let each operand round with the buffers of a program."""
    for name, operand in operands.items():
        operand.buffers = state.get_submodule(name)
    try:
        yield
    finally:
        for operand in operands.values():
            operand.buffers = None


def step_program(module: nn.Module) -> None:
    """End a step of a program that trains, after the optimizer's step: histories take in its amax, and noise changes.

    Args:
        module: what `module()` of the program returned.

    Raises:
        RunError: it is not of a program that `training_program` made.
    """
    state = state_of(module)
    for memory in state.children():
        torch.ops.altgrad.advance(memory.history, memory.amax)
    step = state.get_buffer("step")
    step += 1
    if (moment := vars(state).get("moment")) is not None:
        moment.step += 1
