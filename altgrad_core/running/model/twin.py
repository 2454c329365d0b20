"""The float32 twin of a step: the same weights and batch without quantization, leaving no trace in the run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from altgrad_core.running.model.layers import make_plain, quantized_modules


class Twin:
    """The unquantized gradients of one step and products with its Hessian, at the weights as they are when asked.

    Args:
        weights: the weight matrices of its layers, by path.
        losses: for each micro-batch of the step, what seeds torch's generator and returns its share of the loss; the
            same that the step was trained by, so that dropout draws the same.
    """

    def __init__(
        self, model: nn.Module, weights: Mapping[str, nn.Parameter], losses: Sequence[Callable[[], Tensor]]
    ) -> None:
        self._model, self._losses = model, losses
        self._weights = dict(weights)

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        """See `StepEvent.twin`."""
        with undisturbed(self._model), unquantized(self._model):
            for loss in self._losses:
                loss().backward()
            return {path: weight.grad for path, weight in self._weights.items() if weight.grad is not None}

    def hvp(self, v: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `StepEvent.hvp`. Each product costs a forward pass and two backward ones; nothing is kept between them."""
        weights = [self._weight(path) for path in v]
        if len(set(weights)) < len(weights):
            raise ValueError(f"of {', '.join(v)} some share one weight; name each weight once")
        products = [torch.zeros_like(weight) for weight in weights]
        with undisturbed(self._model), unquantized(self._model), sdpa_kernel(SDPBackend.MATH):
            for loss in self._losses:
                for product, part in zip(products, _products(loss(), weights, list(v.values())), strict=True):
                    product += part
        return dict(zip(v, products, strict=True))

    def _weight(self, path: str) -> nn.Parameter:
        if path not in self._weights:
            raise ValueError(f'no layer "{path}" with a weight matrix; there are {", ".join(self._weights)}')
        return self._weights[path]


def _products(loss: Tensor, weights: list[nn.Parameter], v: list[Tensor]) -> Sequence[Tensor]:
    """The Hessian of `loss` with respect to `weights`, times `v` (Pearlmutter, 1994)."""
    slopes = torch.autograd.grad(loss, weights, create_graph=True, materialize_grads=True)
    slope = torch.stack([(a * b).sum() for a, b in zip(slopes, v, strict=True)]).sum()
    if not slope.requires_grad:  # linear in all of them
        return [torch.zeros_like(weight) for weight in weights]
    return torch.autograd.grad(slope, weights, materialize_grads=True)


@contextmanager
def unquantized(model: nn.Module) -> Iterator[None]:
    """For the time being the quantized layers of `model` are ordinary ones; their operands are not even looked at."""
    undo: list[Callable[[], None]] = []
    try:
        for module in quantized_modules(model):
            undo.append(make_plain(module))
        yield
    finally:
        for back in undo:
            back()


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Afterwards gradients, buffers and all attributes of `model`, and the shared generators, are what they were.

    Meanwhile there are no gradients, and forward passes write to copies of the buffers, so that graphs built here stay
    valid.
    """
    modules = list(model.modules())
    attributes = [dict(vars(module)) for module in modules]
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    with _shared_generators_kept(), torch.enable_grad():
        try:
            _copy_buffers(modules)
            for parameter, _ in gradients:
                parameter.grad = None
            yield
        finally:
            for module, kept in zip(modules, attributes, strict=True):
                vars(module).clear()
                vars(module).update(kept)
            for parameter, gradient in gradients:
                parameter.grad = gradient


def _copy_buffers(modules: list[nn.Module]) -> None:
    """Give every module a copy of each of its buffers; modules that shared one share the copy."""
    copies: dict[int, Tensor] = {}
    for module in modules:
        for buffer in module._buffers.values():
            if buffer is not None and id(buffer) not in copies:
                copies[id(buffer)] = buffer.detach().clone()
        vars(module)["_buffers"] = {
            name: None if buffer is None else copies[id(buffer)] for name, buffer in module._buffers.items()
        }


@contextmanager
def _shared_generators_kept() -> Iterator[None]:
    """Put the generators of torch (all devices in use), Python and NumPy back where they were."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    pythons, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)
