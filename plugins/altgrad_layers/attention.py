"""`torch.nn.MultiheadAttention`: projections, which are products with a weight, and attention itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import ATTENTION, LayerSpec, Product, Rounding
from altgrad_layers.attend import attend
from altgrad_layers.dot_product import CONTRACTED
from altgrad_layers.own_forward import computes_as, why_not

if TYPE_CHECKING:
    from torch import Tensor, nn

APART = ("q_proj", "k_proj", "v_proj")


class MultiheadAttention(LayerSpec):
    """Quantizes the projections and the attention of `torch.nn.MultiheadAttention`.

    Layers `in_proj` and `out_proj`; not with `add_bias_kv` or `add_zero_attn`.

    The layer at the path of the module itself is attention: what `query`, `key`, `probability`, `value` quantize. Where keys or values have a width of their own, `q_proj`, `k_proj` and `v_proj` take the place of `in_proj`.
    """

    name: ClassVar = "multihead-attention"

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return (
            computes_as(module, nn.MultiheadAttention)
            and isinstance(module, nn.MultiheadAttention)
            and module.bias_k is None
            and not module.add_zero_attn
        )

    def refusal(self, module: nn.Module) -> str | None:
        """With keys and values of its own, or a forward pass of its own."""
        from torch import nn

        if isinstance(module, nn.MultiheadAttention) and (module.bias_k is not None or module.add_zero_attn):
            return "add_bias_kv and add_zero_attn are not supported"
        return why_not(module, nn.MultiheadAttention)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """The projections, and attention."""
        same = module._qkv_same_embed_dim
        inputs = (
            [Product("in_proj", "in_proj_weight")]
            if same
            else [Product.linear(name, f"{name}_weight") for name in APART]
        )
        return (
            *inputs,
            Product.linear("out_proj", "out_proj.weight"),
            Product(weight=None, roles=ATTENTION, contracted=CONTRACTED),
        )

    def forward(
        self,
        module: Any,
        rounding: Rounding,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As `torch.nn.MultiheadAttention`; `is_causal` is a hint that goes with `attn_mask`, and is not needed here."""
        is_batched, inputs = query.dim() == 3, (query, key, value)
        q, k, v = (_heads(module, x, is_batched=is_batched) for x in _projected(module, rounding, inputs))
        mask = _mask(module, q, attn_mask, key_padding_mask)
        dropout = module.dropout if module.training else 0.0
        weights: Tensor | None
        if rounding.is_rounded():
            mixed, weights = attend(rounding, (q, k, v), mask=mask, dropout=dropout, scale=q.shape[-1] ** -0.5)
        else:
            mixed, weights = _attend(q, k, v, mask, dropout=dropout, need_weights=need_weights)
        y = mixed.transpose(1, 2).flatten(-2)  # (batch, time, width)
        y = rounding.linear(y, module.out_proj.weight, module.out_proj.bias, product="out_proj")
        if not is_batched:
            y = y.squeeze(0)
        elif not module.batch_first:
            y = y.transpose(0, 1)
        if weights is None or not need_weights:
            return y, None
        weights = weights.mean(dim=1) if average_attn_weights else weights
        return y, weights if is_batched else weights.squeeze(0)


def _projected(module: Any, rounding: Rounding, inputs: tuple[Tensor, Tensor, Tensor]) -> Sequence[Tensor]:
    """Queries, keys and values."""
    biases = [None] * 3 if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    if not module._qkv_same_embed_dim:
        weights = [getattr(module, f"{name}_weight") for name in APART]
        return [
            rounding.linear(x, weight, bias, product=name)
            for x, weight, bias, name in zip(inputs, weights, biases, APART, strict=True)
        ]
    if inputs[0] is inputs[1] is inputs[2]:
        return rounding.linear(inputs[0], module.in_proj_weight, module.in_proj_bias, product="in_proj").chunk(3, -1)
    parts = rounding.round(module.in_proj_weight, "weight", product="in_proj").chunk(3)
    products = [
        rounding.round_gradient(
            rounding.round(x, "activation", product="in_proj") @ part.transpose(0, 1), product="in_proj"
        )
        for x, part in zip(inputs, parts, strict=True)
    ]
    return [y if bias is None else y + bias for y, bias in zip(products, biases, strict=True)]


def _heads(module: Any, x: Tensor, *, is_batched: bool) -> Tensor:
    """In shape (batch, heads, time, width of a head)."""
    if not is_batched:
        x = x.unsqueeze(0)
    elif not module.batch_first:
        x = x.transpose(0, 1)
    return x.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)


def _mask(module: Any, q: Tensor, mask: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """What is added to the scores, broadcast to (batch, heads, queries, keys); None: nothing."""
    import torch

    added = None
    for one, shape in ((mask, None), (padding, "padding")):
        if one is None:
            continue
        if one.dtype == torch.bool:
            one = torch.zeros_like(one, dtype=q.dtype).masked_fill(one, float("-inf"))
        if shape == "padding":
            one = one.reshape(q.shape[0], 1, 1, -1)
        elif one.dim() == 3:
            one = one.reshape(q.shape[0], module.num_heads, *one.shape[1:])
        added = one if added is None else added + one
    return added


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, dropout: float, need_weights: bool
) -> tuple[Tensor, Tensor | None]:
    """The values mixed, and the weights they are mixed with where they are asked for."""
    from torch.nn import functional

    if not need_weights:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout), None
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights = (scores if mask is None else scores + mask).softmax(dim=-1)
    weights = functional.dropout(weights, dropout) if dropout else weights
    return weights @ v, weights
