"""Where a run broke: the first layer whose numbers are no longer finite, found by taking the step once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from altgrad_core.contracts.actions import Role
from altgrad_core.running.model.calls import Calls
from altgrad_core.running.model.layers import QuantizedModule
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.twin import undisturbed


class FirstNonfinite(NamedTuple):
    """The first number that was not finite.

    Attributes:
        step: of the pass, or of the update, in which it came about.
        phase: `forward`, `backward` or `optimizer`.
        layer: its path; `"*"` for the loss, which belongs to none.
        role: the operand that rounding made so, or None where it was something else.
        what: the same in words.
    """

    step: int
    phase: str
    layer: str
    role: Role | None
    what: str


def find_nonfinite(model: nn.Module, plan: Plan, losses: Sequence[Callable[[], Tensor]], step: int) -> FirstNonfinite:
    """What broke first in a step whose loss or gradient is not finite; the weights are still those it began with.

    Nothing of the run changes: the passes are taken again, watched, with the same random numbers.

    Args:
        losses: for each micro-batch of the step, what seeds torch's generator and returns its share of the loss.
    """
    for path, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            layer, _, name = path.rpartition(".")
            since = "from the beginning" if step == 1 else f"since the update of step {step - 1}"
            return FirstNonfinite(step - 1, "optimizer", layer, None, f"{name} of {layer} is not finite, {since}")
    with undisturbed(model), _operands_kept(plan), _watching(model) as watch:
        for micro_batch, loss in enumerate(losses):
            plan.moment.micro_batch = micro_batch
            value = loss()
            if watch.first is None and not value.isfinite():
                watch.first = ("forward", "*", None, "the loss is not finite, though every layer's output is")
            if watch.first is None:
                value.backward()
            if watch.first is not None:
                return FirstNonfinite(step, *watch.first)
    return FirstNonfinite(step, "backward", "*", None, _UNSEEN)


_UNSEEN = (
    "every number is finite when the step is repeated: only the norm of the gradient is beyond float32, "
    "or hidden state of the model, such as a counter, caused this"
)
First = tuple[str, str, "Role | None", str]


@dataclass
class _Watch:
    """Looks at what every module gives and at what gradients come back, until something is not finite."""

    first: First | None = None
    gradients: dict[str, Tensor] = field(default_factory=dict)
    handles: list[RemovableHandle] = field(default_factory=list)

    def output(self, path: str, module: nn.Module, args: Any, output: Any) -> None:
        """A module is done."""
        if self.first is not None or not isinstance(output, Tensor):
            return
        if not output.isfinite().all():
            role = (
                _culprit(module, {"activation": args[0], "weight": getattr(module, "weight", None)}) if args else None
            )
            how = "gave an output that is not finite"
            self.first = ("forward", path or "*", role, f"{path or 'the model'} {how}{_by_rounding(module, role)}")
        elif output.requires_grad:
            output.register_hook(partial(self.output_gradient, path))

    def output_gradient(self, path: str, gradient: Tensor) -> None:
        """The gradient of a module's output is there."""
        if self.first is None and not gradient.isfinite().all():
            self.first = (
                "backward",
                path or "*",
                None,
                f"the gradient that reached the output of {path} was not finite",
            )
        self.gradients[path] = gradient

    def weight_gradient(self, path: str, name: str, module: nn.Module, parameter: Tensor) -> None:
        """The gradient of a parameter is there."""
        if self.first is None and parameter.grad is not None and not parameter.grad.isfinite().all():
            role = _culprit(module, {"gradient": self.gradients.get(path)})
            what = f"the gradient of {name} of {path} is not finite, though that of its output is"
            self.first = ("backward", path, role, what + _by_rounding(module, role))


@contextmanager
def _watching(model: nn.Module) -> Iterator[_Watch]:
    watch = _Watch()
    for path, module in model.named_modules():
        watch.handles.append(module.register_forward_hook(partial(watch.output, path)))
        for name, parameter in module.named_parameters(recurse=False):
            hook = partial(watch.weight_gradient, path, name, module)
            if parameter.requires_grad:
                watch.handles.append(parameter.register_post_accumulate_grad_hook(hook))
    try:
        yield watch
    finally:
        for handle in watch.handles:
            handle.remove()


def _culprit(module: nn.Module, tensors: dict[str, Tensor | None]) -> Role | None:
    """The operand of a quantized layer that is finite, and no longer so once it is rounded."""
    if not isinstance(module, QuantizedModule):
        return None
    for operand in module.quantized.operands():
        role: Role = operand.role
        tensor = tensors.get(role)
        if isinstance(tensor, Tensor) and tensor.isfinite().all():
            with torch.no_grad():
                rounded, _ = operand.rounds(training=False)(tensor)
            if not rounded.isfinite().all():
                return role
    return None


def _by_rounding(module: nn.Module, role: Role | None) -> str:
    if role is None or not isinstance(module, QuantizedModule):
        return ""
    format = next(operand.format for operand in module.quantized.operands() if operand.role == role)
    return f": rounding its {role} to {format.name} caused this"


@contextmanager
def _operands_kept(plan: Plan) -> Iterator[None]:
    """Afterwards all that operands remember is what it was; meanwhile weights are rounded again."""
    kept = [(thing, dict(vars(thing))) for thing in (plan.moment, *plan.operands())]
    plan.moment.passed = None
    for operand in plan.operands():
        operand._latest, operand._calls = None, Calls()
    try:
        yield
    finally:
        for thing, values in kept:
            vars(thing).clear()
            vars(thing).update(values)
