"""Mixtures of experts of Hugging Face, tiny and built from configurations."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag
from altgrad_core.registry.registry import installed
from altgrad_core.testing import check_layer

transformers = pytest.importorskip("transformers")
E4M3 = ag.Quantizer("e4m3")
ALL = ag.Rule("*", weight=E4M3, activation=E4M3, gradient=ag.Quantizer("e5m2"))
SIZES: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 16,
}  # fmt: skip
TOKENS = (torch.arange(32) * 7 % 32).view(2, 16)


def mixtral() -> nn.Module:
    torch.manual_seed(0)
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**SIZES))


def gpt_oss() -> nn.Module:
    """Transposed stacks, biases, and a gate of its own."""
    torch.manual_seed(0)
    config = transformers.GptOssConfig(**SIZES, head_dim=8, layer_types=["full_attention"])
    model = transformers.GptOssForCausalLM._from_config(config, attn_implementation="eager")
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def experts(model: nn.Module) -> nn.Module:
    found: nn.Module = model.model.layers[0].mlp.experts
    return found


def routed(module: nn.Module) -> Tensor:
    """Six tokens, each to two of four experts, one of which gets none."""
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    index = torch.tensor([[0, 1], [1, 3], [3, 0], [0, 3], [1, 0], [3, 1]])
    return module(x, index, torch.linspace(0.2, 0.8, 12).view(6, 2))


@pytest.mark.parametrize("build", [mixtral, gpt_oss])
def test_stacked_experts_keep_the_laws(build: Any) -> None:
    check_layer(installed().get("layer", "stacked-experts"), experts(build()), routed)


def test_every_expert_multiplies_rounded_tokens_by_its_rounded_matrix() -> None:
    module = experts(mixtral())
    ag.quantize_model(nn.ModuleDict({"experts": module}), [ALL])
    q = lambda t: ag.fake_quantize(t, ag.load_format("e4m3"), scaling="amax")  # noqa: E731
    x = torch.randn(6, 16, generator=torch.Generator().manual_seed(1))
    index = torch.tensor([[0, 1], [1, 3], [3, 0], [0, 3], [1, 0], [3, 1]])
    tokens, first, second = q(x), q(module.gate_up_proj.detach()), q(module.down_proj.detach())
    hidden = {}
    for token in range(6):
        for expert in index[token].tolist():
            gate, up = (first[expert] @ tokens[token]).chunk(2)
            hidden[token, expert] = nn.functional.silu(gate) * up
    rounded = dict(zip(hidden, q(torch.stack(list(hidden.values()))), strict=True))
    shares = torch.linspace(0.2, 0.8, 12).view(6, 2)
    expected = torch.stack(
        [sum(shares[t, k] * (second[e] @ rounded[t, e]) for k, e in enumerate(index[t].tolist())) for t in range(6)]
    )
    torch.testing.assert_close(routed(module).detach(), expected)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm"])
def test_without_rounding_it_is_the_model_in_every_implementation(implementation: str) -> None:
    model = mixtral()
    plain = copy.deepcopy(model)
    plain.set_experts_implementation(implementation)
    ag.quantize_model(model, [ag.Rule("*experts*", weight=ag.Quantizer("fp32"))])
    found = []
    for one in (model, plain):
        loss = one(input_ids=TOKENS, labels=TOKENS).loss
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in one.parameters() if p.grad is not None)])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-4)


def test_a_star_covers_the_experts_and_the_model_trains() -> None:
    model = mixtral()
    plan = ag.quantize_model(model, [ALL, ag.Rule("*experts*", moment=E4M3)])
    assert [path for path in plan.layers if "experts" in path] == [
        "model.layers.0.mlp.experts.gate_up_proj",
        "model.layers.0.mlp.experts.down_proj",
    ]
    found = plan.coverage()
    assert found.matrices > 0.97
    (router,) = (part.why for part in found.uncovered if part.path == "model.layers.0.mlp.gate")
    assert router == "a router is not quantized: rounding would make it choose other experts"
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
    assert len(plan.geometry()) == len([1 for roles in plan.layers.values() if "weight" in roles])
