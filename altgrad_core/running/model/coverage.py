"""How much of a model is quantized, and what is not, with the reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.errors import reason_of
from altgrad_core.running.model.kernel_products import kernel_formulas, without_fused_attention
from altgrad_core.running.model.layers import Layer, QuantizedModule
from altgrad_core.running.model.twin import undisturbed, unquantized

MOST_LISTED = 8
ATTENTION = ("bmm", "baddbmm", "scaled_dot_product")


@dataclass(frozen=True)
class Uncovered:
    """What is not quantized in one module.

    Attributes:
        path: of the module; empty for the model itself.
        why: the reason.
        parameters: of its matrices, in elements.
        multiply_adds: of its own products, in one forward pass; 0 where none was taken.
    """

    path: str
    why: str
    parameters: int = 0
    multiply_adds: int = 0


@dataclass(frozen=True)
class Coverage:
    """The quantized share of a model.

    Attributes:
        parameters: of all its parameters.
        matrices: of the parameters with two or more dimensions, without tables of vectors.
        multiply_adds: of the products of a forward pass; None where none was taken.
        uncovered: what is not quantized, the largest first.
        uncounted: why the multiply-adds could not be counted, if that was tried.
    """

    parameters: float
    matrices: float
    multiply_adds: float | None
    uncovered: tuple[Uncovered, ...]
    uncounted: str = ""

    def __str__(self) -> str:
        """Two or more lines."""
        products = "" if self.multiply_adds is None else f" and {self.multiply_adds:.1%} of multiply-adds"
        lines = [f"quantized: {self.parameters:.1%} of parameters{products}"]
        lines += [f"  not {part.path or 'the model itself'}: {part.why}" for part in self.uncovered[:MOST_LISTED]]
        more = len(self.uncovered) - MOST_LISTED
        lines += [f"  multiply-adds could not be counted: {self.uncounted}"] if self.uncounted else []
        return "\n".join([*lines, *([f"  and {more} more"] if more > 0 else [])])

    def _repr_html_(self) -> str:
        """A table of what is not quantized, for notebooks."""
        products = "" if self.multiply_adds is None else f" and {self.multiply_adds:.1%} of multiply-adds"
        head = "<tr><th>not quantized</th><th>why</th><th>parameters</th><th>multiply-adds</th></tr>"
        rows = [
            f"<tr><td>{escape(part.path) or 'the model itself'}</td><td>{escape(part.why)}</td>"
            f"<td>{part.parameters:,}</td><td>{part.multiply_adds:,}</td></tr>"
            for part in self.uncovered
        ]
        table = f"<table>{head}{''.join(rows)}</table>" if rows else ""
        return f"<p>quantized: {self.parameters:.1%} of parameters{products}</p>{table}"


def coverage(
    model: nn.Module,
    layers: Mapping[str, Layer],
    weights: Mapping[str, bool],
    kinds: Iterable[LayerSpec],
    example: tuple[tuple[Any, ...], dict[str, Any]] | None,
) -> Coverage:
    """The coverage of a model.

    Args:
        layers: all that can be quantized.
        weights: of the layers that are, whether the weight is.
        example: what the model can be called with; None: products are not counted.
    """
    covered: set[Tensor] = {w for path, is_so in weights.items() if is_so and (w := layers[path].weight) is not None}
    covered |= {p for path, is_so in weights.items() if is_so for p in _behind(layers[path])}
    products, uncounted = ({}, "") if example is None else _counted(model, *example)
    specs, modules = list(kinds), {layer.module: layer for layer in layers.values() if layer.product.weight is not None}
    attention_of = {layer.module for layer in layers.values() if _attends(layer)}
    attending = {layers[path].module for path in weights if _attends(layers[path])}
    quantized = {layers[path].module for path in weights if not _attends(layers[path])}
    adapted = {layer.module for layer in layers.values()}
    result, tables, done = [], set(), 0
    for path, module in model.named_modules():
        rest = [p for p in module.parameters(recurse=False) if p.dim() >= 2 and p not in covered]
        own, attention = products.get(path, (0, 0))
        left = 0 if module in attending else attention
        left += 0 if module in quantized else own - attention
        done += own - left
        if module in modules and not modules[module].spec.in_star:
            tables |= set(rest)
        is_refused = module not in adapted and any(spec.refusal(module) for spec in specs)
        if rest or left or is_refused:
            layer = modules.get(module)
            why = _why(module, layer, specs) if rest else _why_not_its_products(module, specs, module in attention_of)
            result.append(Uncovered(path, why, sum(p.numel() for p in rest), left))
    total = sum(own for own, _ in products.values())
    everything, matrices = set(model.parameters()), {p for p in model.parameters() if p.dim() >= 2} - tables
    return Coverage(
        parameters=_share(covered.intersection(everything), everything),
        matrices=_share(covered.intersection(matrices), matrices),
        multiply_adds=None if example is None or not total else done / total,
        uncovered=tuple(sorted(result, key=lambda part: -max(part.parameters, part.multiply_adds))),
        uncounted=uncounted,
    )


def _share(part: Collection[Tensor], whole: Collection[Tensor]) -> float:
    return sum(p.numel() for p in part) / max(1, sum(p.numel() for p in whole))


def _behind(layer: Layer) -> Iterable[Tensor]:
    """The parameters that a parametrized weight is computed from, or one that a hook computes, as in pruning."""
    parametrizations = getattr(layer.module, "parametrizations", None)
    if parametrizations is not None:
        return list(parametrizations.parameters())
    if layer.product.weight is None or isinstance(layer.weight, nn.Parameter):
        return ()
    own = layer.module.named_parameters(recurse=False)
    return [parameter for name, parameter in own if name.startswith(f"{layer.product.weight}_")]


def _attends(layer: Layer) -> bool:
    return "query" in layer.product.roles


def _why_not_its_products(module: nn.Module, kinds: Iterable[LayerSpec], is_attention: bool) -> str:
    if is_attention:
        return f"no rule quantizes query, key, probability or value of {_name(module)}"
    why = next((why for spec in kinds if (why := spec.refusal(module))), None)
    return why or f"{_name(module)} computes products of its own, outside of layers"


def _name(module: nn.Module) -> str:
    return type(module).__name__.removeprefix("Quantized")


def _why(module: nn.Module, layer: Layer | None, kinds: Iterable[LayerSpec]) -> str:
    name = _name(module)
    if layer is not None and not (isinstance(module, QuantizedModule) and not module.quantized.is_plain):
        return "no rule selects it" if layer.spec.in_star else f'{name} has to be named by a rule, "*" leaves it out'
    if layer is not None:
        return "no rule quantizes its weight"
    refusals = (spec.refusal(module) for spec in kinds)
    return next((why for why in refusals if why), f"no installed kind of layer adapts {name}")


def _counted(model: nn.Module, *example: Any) -> tuple[dict[str, tuple[int, int]], str]:
    """The multiply-adds, and why they could not be counted, where torch's counter does not know a kernel."""
    try:
        return _products(model, *example), ""
    except TypeError as error:
        if "no implementation found" not in str(error):
            raise
        torch._dynamo.reset()  # such kernels compile themselves, and what failed here would fail ever after
        return {}, reason_of(error)


def _products(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The multiply-adds of every module itself, without its parts, and those of them that are attention's."""
    from torch.utils.flop_counter import FlopCounterMode  # it imports Triton

    counter = FlopCounterMode(display=False, custom_mapping=kernel_formulas())
    with (
        undisturbed(model),
        unquantized(model),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        without_fused_attention(),
        counter,
    ):
        model.eval()(*args, **kwargs)
    counts = counter.get_flop_counts()
    own: dict[str, tuple[int, int]] = {}
    for path, _ in model.named_modules():
        operations = counts.get(".".join(part for part in (type(model).__name__, path) if part))
        if operations is None:
            continue
        total = sum(operations.values()) // 2
        attention = sum(n for name, n in operations.items() if any(part in str(name) for part in ATTENTION)) // 2
        own[path] = total, attention
        if (above := _counted_above(path, own)) is not None:  # which counted its parts too
            own[above] = own[above][0] - total, own[above][1] - attention
    return own


def _counted_above(path: str, counted: Mapping[str, Any]) -> str | None:
    """The nearest module above that was counted."""
    while path:
        path = path.rpartition(".")[0]
        if path in counted:
            return path
    return None
