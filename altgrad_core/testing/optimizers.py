"""The laws of an optimizer, tried on a tiny model in formats of every character."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.assembly.library import build, quantize_model
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule
from altgrad_core.running.state.serialize import pack
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import (
    BLOCK,
    FORMATS,
    VOCABULARY,
    TinyModel,
    bits,
    changed,
    everything,
    generators,
    tiny_run,
    train,
)

DESCENT_STEPS = 60


def check_optimizer(optimizer: type[OptimizerSpec] | OptimizerSpec, **options: Any) -> None:
    """Try every law of an optimizer; a few seconds.

    Args:
        optimizer: the spec's class, or an instance of it.
        options: those it is made with; the learning rate among them should suit a tiny model.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    spec = made(optimizer, options, kind="optimizer")
    check_laws(title(spec, "optimizer"), LAWS, spec)


def rate_is_an_option(spec: OptimizerSpec) -> Iterator[str]:
    """Its learning rate is the option `lr`, and every group of what it builds has a rate."""
    if "lr" not in type(spec).model_fields:
        yield f"Its options are {', '.join(type(spec).model_fields) or 'none'}."
    for group in _bench(spec).optimizer.param_groups:
        if "lr" not in group:
            yield f"A group has only {', '.join(group)}."


def it_takes_every_parameter(spec: OptimizerSpec) -> Iterator[str]:
    """Every trained parameter stands in exactly one group, whether all layers are quantized or none."""
    for format in (*FORMATS, None):
        bench = _bench(spec, format)
        held = [id(p) for group in bench.optimizer.param_groups for p in group["params"]]
        if sorted(held) != sorted(id(p) for p in bench.model.parameters()):
            yield f"{bench.what}: the groups hold {len(held)} of {len(list(bench.model.parameters()))} parameters."


def it_descends(spec: OptimizerSpec) -> Iterator[str]:
    """Over 60 steps the loss of a tiny model falls, in any format."""
    for format in FORMATS:
        losses = [r["loss"] for r in train(tiny_run(optimizer=spec, format=format, steps=DESCENT_STEPS)).of("step")]
        first, last = sum(losses[:5]) / 5, sum(losses[-5:]) / 5
        if not last < first:
            yield f"In {format.name} it went from {first:.4f} to {last:.4f}; pass an lr that suits a tiny model."


def one_grid_gives_one_run(spec: OptimizerSpec) -> Iterator[str]:
    """E0M7 and E1M6 are one grid up to a power of two: under amax scaling their runs are equal, bit for bit."""
    runs = [tiny_run(optimizer=spec, format=Minifloat(*split), steps=8) for split in ((0, 7), (1, 6))]
    for run in runs:
        train(run)
    one, other = (run.model.state_dict() for run in runs)
    yield from (f"After 8 steps {name} was another." for name in one if bits(one[name]) != bits(other[name]))


def state_is_plain_data(spec: OptimizerSpec) -> Iterator[str]:
    """state_dict holds plain data and tensors alone; the geometry is no part of it."""
    bench = _bench(spec)
    bench.train(steps=2)
    try:
        json.dumps(pack(bench.optimizer.state_dict(), {}, "state_dict"))
    except TypeError as error:
        yield f"{error}. Keep the geometry as an attribute of the optimizer."


def state_is_saved_whole(spec: OptimizerSpec) -> Iterator[str]:
    """A fresh optimizer that loads a saved state goes on, bit for bit, as the old one would have."""
    for format in FORMATS:
        whole, first, second = (tiny_run(optimizer=spec, format=format, steps=8) for _ in range(3))
        train(whole)
        train(first, until=5)
        second.restore(first.files())
        train(second)
        yield from (
            f"In {format.name}, saved after 5 of 8 steps, {name} was another." for name in _apart(whole, second)
        )


def randomness_is_torchs(spec: OptimizerSpec) -> Iterator[str]:
    """Random numbers come from torch's default generator alone, so one seed gives one result."""
    for format in FORMATS:
        once, again = _bench(spec, format), _bench(spec, format)
        once.train(steps=3)
        seed, numpy_state = random.getstate(), np.random.get_state()
        random.random()
        np.random.random()
        before = generators()
        again.train(steps=3)
        moved = [name for name in changed(before, generators()) if not name.startswith("torch")]
        random.setstate(seed)
        np.random.set_state(numpy_state)
        yield from (f"In {format.name} it moved {name}." for name in moved)
        yield from (f"In {format.name}, {name} was another the second time." for name in again.differs(once.values()))


def rate_zero_moves_nothing(spec: OptimizerSpec) -> Iterator[str]:
    """It takes its rate from group["lr"]: at 0, where a schedule may end, no weight moves, not even by decay."""
    for format in FORMATS:
        bench = _bench(spec, format)
        bench.train(steps=2)
        before = bench.values()
        for group in bench.optimizer.param_groups:
            group["lr"] = 0.0
        bench.train(steps=1)
        yield from (f"{bench.what}: {name} moved." for name in bench.differs(before))


def missing_gradients_are_skipped(spec: OptimizerSpec) -> Iterator[str]:
    """A parameter without a gradient does not move, before or after it had one; nor does a frozen one."""
    for format in FORMATS:
        for steps in (0, 2):
            bench = _bench(spec, format)
            bench.train(steps=steps)
            before = bench.values()
            bench.backpropagate()
            for name, parameter in bench.model.named_parameters():
                if "hidden" in name or "norm" in name:
                    parameter.grad = None
            bench.optimizer.step()
            moved = [name for name in bench.differs(before) if "hidden" in name or "norm" in name]
            yield from (f"{bench.what}, after {steps} ordinary steps: {name} moved." for name in moved)
        frozen = _bench(spec, format, frozen="wide")
        before = frozen.values()
        frozen.train(steps=2)
        yield from (f"{frozen.what}: the frozen {name} moved." for name in frozen.differs(before) if "wide" in name)


def hard_weights_stay_finite(spec: OptimizerSpec) -> Iterator[str]:
    """Zero gradients, zero weights, and weights at and beyond the ends of the grid give finite weights."""
    for format in FORMATS:
        for what, fill in HARD.items():
            bench = _bench(spec, format, fill=lambda w, f=format, fill=fill: fill(w, f))  # type: ignore[misc]
            for gradient in (0.0, 1.0, -1.0, 1e-20, 1e10):
                for parameter in bench.model.parameters():
                    parameter.grad = torch.full_like(parameter, gradient)
                bench.optimizer.step()
                for name, parameter in bench.model.named_parameters():
                    if not parameter.isfinite().all():
                        yield f"{bench.what}: {name}, which was {what}, became non-finite by the gradient {gradient:g}."


HARD: dict[str, Callable[[Tensor, Format], Tensor]] = {
    "zero": lambda w, format: torch.zeros_like(w),
    "at the ends of the grid": lambda w, format: w.sign() * format.largest,
    "on alternating ends": lambda w, format: torch.ones_like(w).cumsum(0).remainder(2).sub(0.5) * 2 * format.largest,
    "nearly zero": lambda w, format: w * 1e-38,
    "of one size": lambda w, format: torch.ones_like(w),
}
LAWS: tuple[Law, ...] = (
    *OPTION_LAWS,
    rate_is_an_option,
    it_takes_every_parameter,
    state_is_plain_data,
    randomness_is_torchs,
    missing_gradients_are_skipped,
    rate_zero_moves_nothing,
    hard_weights_stay_finite,
    state_is_saved_whole,
    one_grid_gives_one_run,
    it_descends,
)


class _Bench(NamedTuple):
    """A tiny model in one format, all its linear layers quantized, with the optimizer under test."""

    what: str
    model: nn.Module
    plan: Plan
    optimizer: Optimizer

    def backpropagate(self) -> float:
        """Leave gradients on the parameters; the loss."""
        tokens = torch.arange(2 * BLOCK).view(2, BLOCK) * 5 % VOCABULARY
        self.optimizer.zero_grad()
        loss = cross_entropy(self.model(tokens).flatten(0, 1), (tokens * 3 % VOCABULARY).flatten())
        loss.backward()
        return float(loss.detach())

    def train(self, *, steps: int) -> None:
        """Ordinary steps, each with its own seed."""
        for step in range(steps):
            torch.default_generator.manual_seed(step)  # the model is on the CPU
            self.backpropagate()
            self.optimizer.step()

    def values(self) -> dict[str, bytes]:
        """The bits of every parameter."""
        return {name: bits(parameter) for name, parameter in self.model.named_parameters()}

    def differs(self, before: dict[str, bytes]) -> list[str]:
        """The parameters with other bits than `before`."""
        return changed(before, self.values())


def _bench(
    spec: OptimizerSpec,
    format: Format | None = FORMATS[0],
    *,
    frozen: str = "nothing",
    fill: Callable[[Tensor], Tensor] = lambda weight: weight,
) -> _Bench:
    torch.default_generator.manual_seed(0)
    model = TinyModel().build(VOCABULARY)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(frozen not in name)
        if parameter.dim() >= 2:
            parameter.data.copy_(fill(parameter.detach()))
    rules = [] if format is None else [Rule("*", weight=Quantizer(format))]
    plan = quantize_model(model, rules)
    what = "Without a quantized layer" if format is None else f"In {format.name}"
    return _Bench(what, model, plan, build(spec, plan.params()))


def _apart(one: Run, other: Run) -> list[str]:
    return changed(everything(one), everything(other))
