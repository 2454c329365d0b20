"""The laws of a model, tried on a few random tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from altgrad_core.contracts.dataset import DataShape
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.library import layer_kinds, quantize_model
from altgrad_core.running.model.layers import layers_of
from altgrad_core.running.model.recipe import Rule
from altgrad_core.running.state.serialize import load_model_file, model_file
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import STEEP, VOCABULARY, WIDE, bits, changed, generators

EXAMPLES = DataShape(inputs=(5,), outputs=3)
"""Of what a model is tried on that predicts no tokens."""


def check_model(model: type[ModelSpec] | ModelSpec, **options: Any) -> None:
    """Try every law of a model; as long as a dozen of its forward passes.

    Args:
        model: the spec's class, or an instance of it.
        options: those it is made with; small sizes make it quick.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    spec = made(model, options, kind="model")
    check_laws(title(spec, "model"), LAWS, spec)


def outputs_have_their_shape(spec: ModelSpec) -> Iterator[str]:
    """From int64 tokens (batch, time) it gives finite logits (batch, time, vocabulary); from examples, (batch, outputs)."""
    model = _build(spec)
    if not _predicts_tokens(spec):
        outputs = model(_inputs(spec))
        if tuple(outputs.shape) != (2, EXAMPLES.outputs) or not outputs.isfinite().all():
            yield f"Examples gave {outputs!r}, expected finite outputs of shape (2, {EXAMPLES.outputs})."
        return
    for time in sorted({1, (spec.block_size + 1) // 2, spec.block_size}):
        logits = model(_inputs(spec)[:, :time])
        expected = (2, time, VOCABULARY)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected or not logits.is_floating_point():
            came = f"{logits.dtype} of shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"{logits!r}"
            yield f"{time} tokens gave {came}, expected shape {expected}."
        elif not logits.isfinite().all():
            yield f"{time} tokens gave logits that are not finite."


def gradients_reach_everything(spec: ModelSpec) -> Iterator[str]:
    """A gradient reaches every parameter that is trained."""
    model = _build(spec)
    _backpropagate(model, spec)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            yield f"None reached {name}."


def seeds_decide(spec: ModelSpec) -> Iterator[str]:
    """torch's default generator alone decides the initial weights and every random choice of the forward pass."""
    before = generators()
    once, again = _build(spec), _build(spec)
    for name in changed(_bits_of(once), _bits_of(again)):
        yield f"Built twice from one seed, it began with another {name}."
    torch.manual_seed(1)
    first = once(_inputs(spec))
    torch.manual_seed(1)
    if bits(first) != bits(again(_inputs(spec))):
        yield "In training, two passes from one seed gave different logits."
    yield from (f"It moved {name}." for name in changed(before, generators()) if not name.startswith("torch"))


def evaluation_is_still(spec: ModelSpec) -> Iterator[str]:
    """In evaluation mode it draws no random number, changes no buffer, and gives the same logits again."""
    model = _build(spec).eval()
    before = {**generators(), **_bits_of(model)}
    once, again = (model(_inputs(spec)) for _ in range(2))
    if bits(once) != bits(again):
        yield "The logits were others the second time."
    yield from (f"It changed {name}." for name in changed(before, {**generators(), **_bits_of(model)}))


def state_is_saved_whole(spec: ModelSpec) -> Iterator[str]:
    """Its state_dict, tied weights written once, makes a model of another seed give the same logits."""
    trained, loaded, restored = _build(spec), _build(spec, seed=1), _build(spec, seed=2)
    loaded.load_state_dict(trained.state_dict(), strict=True)
    load_model_file(restored, model_file(trained))
    expected = bits(trained.eval()(_inputs(spec)))
    for what, model in (("load_state_dict", loaded), ("a checkpoint", restored)):
        if bits(model.eval()(_inputs(spec))) != expected:
            yield f"After {what} they were others."


def layers_can_be_quantized(spec: ModelSpec) -> Iterator[str]:
    """It has layers of an installed kind; quantizing them changes no key of the state_dict, and removing that, no logit."""
    model = _build(spec)
    if not any(layer.is_selected("*") for layer in layers_of(model, layer_kinds(installed())).values()):
        yield "It has none, so that a recipe can quantize nothing."
        return
    keys, logits = list(model.state_dict()), bits(model.eval()(_inputs(spec)))
    inner = Quantizer(STEEP)
    rule = Rule("*", weight=inner, activation=inner, gradient=Quantizer(WIDE, "stochastic"))
    plan = quantize_model(model, [rule])
    if list(model.state_dict()) != keys:
        yield f"The keys became {list(model.state_dict())}, expected {keys}."
    _backpropagate(model.train(), spec)
    unused = [f"{operand.role} of {operand.path}" for operand in plan.operands() if operand.tally is None]
    for name in unused:
        yield f"The {name} was never quantized: its layer is not called in the forward and backward pass."
    plan.remove()
    if bits(model.eval()(_inputs(spec))) != logits:
        yield "Once it was removed, the logits were others."


LAWS: tuple[Law, ...] = (
    *OPTION_LAWS,
    outputs_have_their_shape,
    gradients_reach_everything,
    seeds_decide,
    evaluation_is_still,
    state_is_saved_whole,
    layers_can_be_quantized,
)


def _build(spec: ModelSpec, *, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = spec.build(VOCABULARY) if _predicts_tokens(spec) else spec.build_for(EXAMPLES)
    if not isinstance(model, nn.Module):
        raise AssertionError(f"build returned {model!r}; expected a torch.nn.Module.")
    return model


def _predicts_tokens(spec: ModelSpec) -> bool:
    """Whether it has `build`; a model of examples alone has `build_for`."""
    return type(spec).build is not ModelSpec.build


def _inputs(spec: ModelSpec) -> Tensor:
    """Tokens, int64 of shape (2, block_size), or examples of numbers."""
    if _predicts_tokens(spec):
        return (torch.arange(2 * spec.block_size) * 7 % VOCABULARY).view(2, spec.block_size)
    return torch.linspace(-1, 1, 2 * math.prod(EXAMPLES.inputs)).view(2, *EXAMPLES.inputs)


def _backpropagate(model: nn.Module, spec: ModelSpec) -> None:
    inputs = _inputs(spec)
    if _predicts_tokens(spec):
        cross_entropy(model(inputs).flatten(0, 1).float(), inputs.flatten()).backward()
    else:
        model(inputs).float().square().mean().backward()


def _bits_of(model: nn.Module) -> dict[str, bytes]:
    return {name: bits(tensor) for name, tensor in [*model.named_parameters(), *model.named_buffers()]}
