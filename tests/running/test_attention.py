"""Attention with rounded operands: against a plain computation by hand, and against torch where nothing is rounded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

import altgrad_core as ag

FORMATS = {
    "query": "e4m3", "key": "e3m4", "probability": "e4m3", "value": "e2m5",
    "score_gradient": "e5m2", "output_gradient": "e5m2",
}  # fmt: skip
ROUNDED = ag.Rule("*", **{role: ag.Quantizer(name) for role, name in FORMATS.items()})
IDENTITY = ag.Rule("*", **dict.fromkeys(FORMATS, ag.Quantizer("fp32")))
CAUSAL = torch.ones(5, 5, dtype=torch.bool).tril()


class Caller(nn.Module):
    """Nothing but a call of torch's function."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return scaled_dot_product_attention(q, k, v, **self.options)


def operands(heads: int = 2, of_keys: int = 2, time: int = 5, width: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, heads, time, width), (3, of_keys, time, width), (3, of_keys, time, width)]
    return [torch.randn(*shape, generator=generator).requires_grad_() for shape in shapes]


def q(role: str, x: Tensor) -> Tensor:
    """Rounded with a scale of the whole tensor, by the function that needs no layer."""
    return ag.quantize(x, ag.Quantizer(ag.load_format(FORMATS[role]))).values


def by_hand(x: list[Tensor], gradient: Tensor, *, mask: Tensor | None, scale: float) -> list[Tensor]:
    """O and the gradients of Q, K, V, with all six operands rounded; one formula a line, no autograd."""
    query, key, value = (q(role, t.detach()) for role, t in zip(("query", "key", "value"), x, strict=True))
    shared = query.shape[1] // key.shape[1]
    keys, values = (t.repeat_interleave(shared, 1) for t in (key, value))
    scores = scale * query @ keys.mT
    scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
    p = (scores - scores.amax(-1, keepdim=True)).exp()
    p = p / p.sum(-1, keepdim=True)
    out_gradient = q("output_gradient", gradient)
    to_p = out_gradient @ values.mT
    to_scores = q("score_gradient", scale * p * (to_p - (to_p * p).sum(-1, keepdim=True)))
    to_values, to_keys = q("probability", p).mT @ out_gradient, to_scores.mT @ query
    summed = [t.unflatten(1, (-1, shared)).sum(2) for t in (to_keys, to_values)]
    return [q("probability", p) @ values, to_scores @ keys, *summed]


@pytest.mark.parametrize(
    ("options", "heads", "mask"),
    [
        ({}, 2, None),
        ({"scale": 0.3}, 2, None),
        ({"is_causal": True}, 2, CAUSAL),
        ({"attn_mask": CAUSAL}, 2, CAUSAL),
        ({"attn_mask": torch.zeros(5, 5).masked_fill(~CAUSAL, float("-inf"))}, 2, CAUSAL),
        ({"enable_gqa": True, "is_causal": True}, 4, CAUSAL),
    ],
)
def test_all_six_operands_are_rounded_as_by_hand(options: dict[str, Any], heads: int, mask: Tensor | None) -> None:
    model, x = Caller(**options), operands(heads)
    plan = ag.quantize_model(model, [ROUNDED])
    out = model(*x)
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    out.backward(gradient)
    expected = by_hand(x, gradient, mask=mask, scale=options.get("scale", 0.5))
    for got, wanted in zip([out, *(t.grad for t in x)], expected, strict=True):
        torch.testing.assert_close(got, wanted)
    assert all(operand.tally is not None for operand in plan.operands())


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"attn_mask": CAUSAL}, {"dropout_p": 0.4}, {"scale": 0.1}, {"enable_gqa": True}],
)
def test_without_rounding_it_is_the_attention_of_torch_in_both_passes(options: dict[str, Any]) -> None:
    plain = Caller(**options)
    model = copy.deepcopy(plain)
    ag.quantize_model(model, [IDENTITY])
    found = []
    for module in (model, plain):
        x = operands(4 if "enable_gqa" in options else 2)
        torch.manual_seed(3)
        with sdpa_kernel(SDPBackend.MATH):
            out = module(*x)
        out.square().sum().backward()
        found.append([out.detach(), *(t.grad for t in x)])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted)


def test_a_query_that_may_see_no_key_mixes_to_zero() -> None:
    mask = CAUSAL.clone()
    mask[2] = False
    model = Caller(attn_mask=mask)
    ag.quantize_model(model, [ROUNDED])
    x = operands()
    out = model(*x)
    out.sum().backward()
    assert (out[:, :, 2] == 0).all() and out.isfinite().all()
    assert all(t.grad is not None and t.grad.isfinite().all() for t in x)


def test_bfloat16_keeps_its_type() -> None:
    plain, x = Caller(is_causal=True), [t.detach().bfloat16() for t in operands()]
    model = copy.deepcopy(plain)
    ag.quantize_model(model, [IDENTITY])
    assert model(*x).dtype == torch.bfloat16
    torch.testing.assert_close(model(*x), plain(*x), atol=0.02, rtol=0.02)


def test_autocast_gives_the_type_that_torch_gives() -> None:
    plain, x = Caller(is_causal=True), operands()
    model = copy.deepcopy(plain)
    ag.quantize_model(model, [IDENTITY])
    with torch.autocast("cpu", torch.bfloat16):
        got, wanted = model(*x), plain(*x)
    assert got.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(got, wanted, atol=0.02, rtol=0.02)


def test_inference_mode_and_copies_give_what_evaluation_gives() -> None:
    model, x = Caller(is_causal=True), operands()
    ag.quantize_model(model, [ROUNDED])
    expected = model.eval()(*x)
    with torch.inference_mode():
        assert torch.equal(model(*x), expected)
    assert torch.equal(copy.deepcopy(model)(*x), expected)
    assert torch.equal(torch.func.functional_call(model, {}, tuple(x)), expected)


def test_compiled_attention_gives_the_bits_of_the_eager_one() -> None:
    model = Caller(is_causal=True, enable_gqa=True)
    ag.quantize_model(model, [ROUNDED])
    compiled = torch.compile(copy.deepcopy(model), backend="eager", fullgraph=True)
    x, again = operands(heads=4), operands(heads=4)
    model(*x).square().sum().backward()
    compiled(*again).square().sum().backward()
    for one, other in zip(x, again, strict=True):
        assert torch.equal(one.grad, other.grad)  # type: ignore[arg-type]


def test_rows_of_values_are_those_that_the_product_sums_over() -> None:
    """O = P V sums over keys: each column of V has a scale of its own."""
    model, x = Caller(), operands()
    plan = ag.quantize_model(model, [ag.Rule("*", value=ag.Quantizer("e2m1", scaling=ag.Scaling(granularity="row")))])
    value = x[2].detach() * torch.tensor([1.0, 1e-4, 1e4, 1.0])
    rows = ag.quantize(
        value.mT.contiguous(), ag.Quantizer(ag.load_format("e2m1"), scaling=ag.Scaling(granularity="row"))
    )
    expected = scaled_dot_product_attention(x[0], x[1], rows.values.mT)
    torch.testing.assert_close(model(x[0], x[1], value), expected)
    assert [operand.role for operand in plan.operands()] == ["value"]


def test_a_role_that_attention_lacks_is_an_error_that_lists_those_it_has() -> None:
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(nn.ModuleDict({"attn": Caller()}), [ag.Rule("attn", weight=ag.Quantizer("e4m3"))])
    assert str(caught.value) == (
        'recipe[0].weight: no layer that matches "attn" has the role weight; attn (dot-product-attention) has query, key, '
        "probability, value, score_gradient, output_gradient"
    )


def test_a_linear_layer_has_no_query() -> None:
    with pytest.raises(ag.ManifestError) as caught:
        ag.quantize_model(nn.Sequential(nn.Linear(2, 2)), [ag.Rule("*", query=ag.Quantizer("e4m3"))])
    assert str(caught.value) == (
        'recipe[0].query: no layer that matches "*" has the role query; 0 (linear) has weight, activation, gradient, '
        "weight_for_input_gradient, activation_for_weight_gradient, gradient_for_weight_gradient, moment, second_moment"
    )


def test_a_rule_for_weights_alone_leaves_attention_as_it_is() -> None:
    model = nn.ModuleDict({"attn": Caller(), "out": nn.Linear(4, 4)})
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"), gradient=ag.Quantizer("e5m2"))])
    assert list(plan.layers) == ["out"] and type(model["attn"]) is Caller


def test_recomputed_attention_repeats_its_noise() -> None:
    model = Caller(is_causal=True)
    noisy = {role: ag.Quantizer(name, "stochastic") for role, name in FORMATS.items()}
    ag.quantize_model(model, [ag.Rule("*", **noisy)])
    kept = copy.deepcopy(model)
    x, again = operands(), operands()
    kept(*x).square().sum().backward()
    checkpoint(model, *again, use_reentrant=False).square().sum().backward()
    for one, other in zip(x, again, strict=True):
        assert torch.equal(one.grad, other.grad)  # type: ignore[arg-type]


def test_formats_switch_and_state_travels() -> None:
    model = Caller()
    plan = ag.quantize_model(model, [ag.Rule("*", query=ag.Quantizer("e4m3", scaling="delayed"))])
    model(*operands())
    plan.step()
    assert plan.switch("*", "query", "e5m2")[0].after == "e5m2"
    other = Caller()
    ag.quantize_model(other, [ag.Rule("*", query=ag.Quantizer("e5m2", scaling="delayed"))])
    other.load_state_dict(model.state_dict())
    x = [10 * t for t in operands()]
    assert torch.equal(model.eval()(*x), other.eval()(*x))  # both clip at the scale of the first batch


def test_the_attention_of_multihead_attention_is_that_of_a_caller() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(2, 5, 8)
    ag.quantize_model(nn.ModuleDict({"attn": module}), [ROUNDED])
    parts = nn.functional.linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    heads = [t.unflatten(-1, (2, -1)).transpose(1, 2) for t in parts]
    caller = Caller()
    ag.quantize_model(caller, [ROUNDED])
    expected = module.out_proj(caller(*heads).transpose(1, 2).flatten(-2))
    out, weights = module(x, x, x)
    torch.testing.assert_close(out, expected)
    assert weights.shape == (2, 5, 5)
    silent = module(x, x, x, need_weights=False)
    assert silent[1] is None and torch.equal(silent[0], out)
