"""Monitors see every weight matrix, those of modules with several products included."""

from __future__ import annotations

import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.running.model.twin import Twin
from altgrad_core.running.model.view import StepView, watched_weights

RULE = ag.Rule("*", weight=ag.Quantizer("e4m3"))


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)


def test_the_input_projection_of_attention_is_seen_with_its_grid_and_its_twin() -> None:
    model, x = encoder(), torch.randn(2, 3, 8)
    plan = ag.quantize_model(model, [RULE])
    weights = watched_weights(model, plan.known.values())
    assert list(weights) == ["self_attn.in_proj", "self_attn.out_proj", "linear1", "linear2"]
    model(x).square().sum().backward()
    view = StepView(weights, plan, Twin(model, weights, [lambda: model(x).square().sum()]))
    seen = {weight.path: weight for weight in view.weights("self_attn.*")}
    assert seen["self_attn.in_proj"].after is not None and seen["self_attn.in_proj"].geometry is not None
    assert seen["self_attn.in_proj"].gradient is not None
    assert view.twin()["self_attn.in_proj"].shape == (24, 8)


def test_a_quantized_module_tells_its_products_itself() -> None:
    model = encoder()
    assert "self_attn.in_proj" not in watched_weights(model)
    ag.quantize_model(model, [RULE])
    assert "self_attn.in_proj" in watched_weights(model)
