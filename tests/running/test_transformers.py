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
