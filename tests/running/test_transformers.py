"""Models of Hugging Face transformers, tiny and built from configurations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import altgrad_core as ag

transformers = pytest.importorskip("transformers")
E4M3 = ag.Quantizer("e4m3")
ALL = ag.Rule("*", weight=E4M3, activation=E4M3, gradient=ag.Quantizer("e5m2"))


def gpt2(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=16, n_embd=16, n_layer=2, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, **options
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def llama() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


TOKENS = (torch.arange(32) * 7 % 32).view(2, 16)


@pytest.mark.parametrize(("build", "least"), [(gpt2, 0.95), (llama, 0.99)])
def test_a_star_covers_every_projection(build: Any, least: float) -> None:
    model = build()
    plan = ag.quantize_model(model, [ALL])
    found = plan.coverage(input_ids=TOKENS)
    assert found.matrices > least
    assert found.multiply_adds is not None and found.multiply_adds > 0.8  # the rest is attention


@pytest.mark.parametrize("build", [gpt2, llama])
def test_it_trains_with_labels(build: Any) -> None:
    model = build()
    plan = ag.quantize_model(model, [ALL])
    optimizer = ag.build_optimizer("adamw", plan.params(), lr=3e-3)
    losses = []
    for _ in range(20):
        loss = model(input_ids=TOKENS, labels=TOKENS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(operand.tally is not None for operand in plan.operands())
    plan.remove()
    assert not any("Quantized" in type(module).__name__ for module in model.modules())


def test_the_conv1d_of_gpt2_multiplies_rounded_operands() -> None:
    model = gpt2()
    layer = model.transformer.h[0].mlp.c_fc
    ag.quantize_model(model, [ALL])
    x = torch.randn(3, 16)
    q = lambda t: ag.fake_quantize(t, ag.load_format("e4m3"), scaling="amax")  # noqa: E731
    torch.testing.assert_close(layer(x), q(x) @ q(layer.weight) + layer.bias)


def bert(**options: Any) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=16, hidden_dropout_prob=0, attention_probs_dropout_prob=0, **options
    )  # fmt: skip
    return transformers.BertForMaskedLM(config)


ATTENTION = ag.Rule("*", **dict.fromkeys(ag.ATTENTION, E4M3))
PADDED = torch.ones(2, 16, dtype=torch.int64).index_fill(1, torch.tensor([14, 15]), 0)


@pytest.mark.parametrize("build", [gpt2, llama, bert])
def test_attention_without_rounding_is_the_eager_one_of_hugging_face(build: Any) -> None:
    model, eager = build(), build()
    eager.set_attn_implementation("eager")
    ag.quantize_model(model, [ag.Rule("*", **dict.fromkeys(ag.ATTENTION, ag.Quantizer("fp32")))])
    found = []
    for one in (model, eager):
        loss = one(input_ids=TOKENS, attention_mask=PADDED, labels=TOKENS).loss
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in one.parameters() if p.grad is not None)])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("build", "heads"), [(gpt2, "attn"), (llama, "self_attn"), (bert, "self")])
def test_with_attention_every_product_is_covered_and_the_model_trains(build: Any, heads: str) -> None:
    model = build()
    plan = ag.quantize_model(model, [ALL, ATTENTION])
    assert sum(path.endswith(f".{heads}") for path in plan.layers) == 2
    assert plan.coverage(input_ids=TOKENS).multiply_adds == 1.0
    optimizer = ag.build_optimizer("adamw", plan.params(), lr=3e-3)
    plan.attach(optimizer)
    losses = []
    for _ in range(15):
        loss = model(input_ids=TOKENS, labels=TOKENS).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(operand.tally is not None for operand in plan.operands())


def test_llama_rounds_keys_that_heads_share_once() -> None:
    model = llama()
    plan = ag.quantize_model(model, [ATTENTION])
    model(input_ids=TOKENS)
    elements = {
        role: operand.tally.elements
        for role, operand in plan.layers["model.layers.0.self_attn"].items()
        if operand.tally
    }
    assert elements == {
        "query": 2 * 4 * 16 * 4,
        "key": 2 * 2 * 16 * 4,
        "value": 2 * 2 * 16 * 4,
        "probability": 2 * 4 * 16 * 16,
    }


def test_eager_attention_is_refused_with_what_to_do() -> None:
    model = gpt2(attn_implementation="eager")
    with pytest.raises(ag.ManifestError, match="no layer that matches"):
        ag.quantize_model(model, [ATTENTION])
    plan = ag.quantize_model(model, [ALL])
    whys = {part.why for part in plan.coverage(input_ids=TOKENS).uncovered}
    assert 'attention of GPT2Attention is computed by "eager": build the model with attn_implementation="sdpa"' in whys
