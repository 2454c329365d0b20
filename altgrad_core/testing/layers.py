"""The laws of a kind of layer, tried on a module of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.numerics.format import Float32
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.layers import layers_of
from altgrad_core.running.model.plan import Plan
from altgrad_core.running.model.recipe import Rule
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import STEEP, bits


class Subject(NamedTuple):
    """A kind and what it is tried on."""

    spec: LayerSpec
    module: nn.Module
    call: Callable[[nn.Module], Tensor]


def check_layer(
    layer: type[LayerSpec] | LayerSpec,
    module: nn.Module | None = None,
    call: Callable[[nn.Module], Tensor] | None = None,
) -> None:
    """Try every law of a kind of layer. Without a module, only those of its name, sentence and options.

    Args:
        layer: the spec's class, or an instance of it.
        module: one of this kind, trainable.
        call: calls the module on some input and returns one tensor.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    spec = made(layer, {}, kind="layer")
    check_laws(title(spec, "layer"), OPTION_LAWS, spec)
    if module is not None and call is not None:
        check_laws(title(spec, "layer"), LAWS, Subject(spec, module, call))


def adapts_what_it_is_for(subject: Subject) -> Iterator[str]:
    """It adapts the module, not one that is quantized already, and no module of another class."""
    if not subject.spec.adapts(subject.module):
        yield f"It does not adapt {type(subject.module).__name__}."
    if subject.spec.adapts(nn.Tanh()):
        yield "It adapts torch.nn.Tanh."


def identity_changes_nothing(subject: Subject) -> Iterator[str]:
    """With the identity format on every role, output and gradients are those of the module, to float32 rounding."""
    plain, quantized = copy.deepcopy(subject.module), copy.deepcopy(subject.module)
    _plan(subject.spec, quantized, Quantizer(Float32()))
    expected, got = _pass(plain, subject.call), _pass(quantized, subject.call)
    for name, tensor in expected.items():
        if not torch.allclose(tensor, got[name], rtol=1e-4, atol=1e-5):
            yield f"The {name} was off by {float((tensor - got[name]).abs().max()):g}."


def every_role_rounds(subject: Subject) -> Iterator[str]:
    """In a forward and a backward pass every role of every product is rounded, and the output is another."""
    quantized = copy.deepcopy(subject.module)
    plan = _plan(subject.spec, quantized, Quantizer(STEEP))
    unquantized = subject.call(copy.deepcopy(subject.module)).detach()
    if torch.equal(_pass(quantized, subject.call)["output"], unquantized):
        yield "The output was the same without quantization."
    for operand in plan.operands():
        if operand.tally is None:
            yield f"The {operand.role} of {operand.path} was never rounded."


def weights_are_where_they_are_said_to_be(subject: Subject) -> Iterator[str]:
    """Every product with the role weight names a parameter; its grid is known before the first pass."""
    plan = _plan(subject.spec, copy.deepcopy(subject.module), Quantizer(STEEP))
    for path, layer in plan.known.items():
        if ("weight" in layer.product.roles) != (layer.weight is not None):
            yield f"The weight of {path} is {layer.weight!r}."
    missing = sum("weight" in roles for roles in plan.layers.values()) - len(plan.geometry())
    if missing:
        yield f"{missing} of its weights have no grid."


def removal_restores(subject: Subject) -> Iterator[str]:
    """No key of the state_dict changes, and once quantization is removed, class and output are what they were."""
    quantized = copy.deepcopy(subject.module)
    keys = list(quantized.state_dict())
    plan = _plan(subject.spec, quantized, Quantizer(STEEP))
    if list(quantized.state_dict()) != keys:
        yield f"The keys became {list(quantized.state_dict())}, expected {keys}."
    plan.remove()
    if type(quantized) is not type(subject.module):
        yield f"The class became {type(quantized).__name__}."
    if bits(subject.call(quantized).detach()) != bits(subject.call(copy.deepcopy(subject.module)).detach()):
        yield "The output became another."


LAWS: tuple[Law, ...] = (
    adapts_what_it_is_for,
    identity_changes_nothing,
    every_role_rounds,
    weights_are_where_they_are_said_to_be,
    removal_restores,
)


def _plan(spec: LayerSpec, module: nn.Module, how: Quantizer) -> Plan:
    """Every role of every product of the module, quantized alike."""
    model = nn.ModuleDict({"layer": module})
    roles: dict[str, Any] = {role: how for layer in layers_of(model, [spec]).values() for role in layer.product.roles}
    return Plan(model, [Rule("layer*", **roles)], kinds=[spec], find=lambda name: STEEP)


def _pass(module: nn.Module, call: Callable[[nn.Module], Tensor]) -> dict[str, Tensor]:
    """The output, and the gradient of every parameter for a fixed gradient of the output."""
    output = call(module)
    output.backward(torch.linspace(-1, 1, output.numel()).reshape(output.shape).to(output))
    gradients = {f"gradient of {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"output": output.detach(), **gradients}
