"""Attention with rounded operands, in plain matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altgrad_core import Rounding

if TYPE_CHECKING:
    from torch import Tensor


def attention(
    rounding: Rounding,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """`torch.nn.functional.scaled_dot_product_attention` with its operands rounded; the same arguments and shapes.

    Raises:
        ValueError: `is_causal` together with a mask, or heads that do not divide.
    """
    import torch

    mask = attn_mask
    if is_causal:
        if mask is not None:
            raise ValueError("scaled_dot_product_attention: is_causal and attn_mask exclude each other; give one")
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, float("-inf"))
    if not enable_gqa and query.dim() > 2 and {x.shape[-3] for x in (key, value)} - {1, query.shape[-3]}:
        raise ValueError(
            f"scaled_dot_product_attention: {query.shape[-3]} heads of queries and {key.shape[-3]} of keys; "
            "set enable_gqa=True"
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return attend(rounding, (query, key, value), mask=mask, dropout=dropout_p, scale=scale, is_shared=enable_gqa)[0]


def attend(
    rounding: Rounding,
    operands: tuple[Tensor, Tensor, Tensor],
    *,
    mask: Tensor | None,
    dropout: float,
    scale: float,
    is_shared: bool = False,
) -> tuple[Tensor, Tensor]:
    """The values mixed, shape (..., heads, queries, width), and the probabilities, (..., heads, queries, keys).

    Args:
        operands: queries, (..., heads, queries, width), keys and values, (..., heads, keys, width).
        mask: what is added to the scaled scores; None: nothing. A query that may see no key mixes to 0, as in torch.
        dropout: the share of probabilities that are dropped; 0 in evaluation.
        is_shared: whether several heads of queries share one of keys and values.
    """
    import torch
    from torch.nn import functional

    q, k, v = operands
    q, k, v = rounding.round(q, "query"), rounding.round(k, "key"), rounding.round(v, "value")
    if is_shared:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], dim=-3) for x in (k, v))
    scores = rounding.round_gradient(q @ k.transpose(-2, -1), "score_gradient") * scale
    scores = scores if mask is None else scores + mask
    blind = None if mask is None else scores.isneginf().all(dim=-1, keepdim=True)  # their softmax would be NaN
    scores = scores if blind is None else scores.masked_fill(blind, 0.0)
    wide = torch.promote_types(scores.dtype, torch.float32)  # torch's own too sums a half in float32
    weights = scores.softmax(dim=-1, dtype=wide).to(v.dtype)
    weights = weights if blind is None else weights.masked_fill(blind, 0.0)
    weights = functional.dropout(weights, dropout) if dropout else weights
    return rounding.round_gradient(rounding.round(weights, "probability") @ v, "output_gradient"), weights
