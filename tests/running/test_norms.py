"""Norms whose weight and input are quantized."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import altgrad_core as ag

MX = ag.Quantizer(
    ag.load_format("e4m3"), scaling=ag.Scaling("amax", rounding="mx-floor", granularity="block:32", scale_format="e8m0")
)


def blocks() -> nn.ModuleDict:
    torch.manual_seed(0)
    block = nn.ModuleDict({"ln_1": nn.LayerNorm(64), "fc": nn.Linear(64, 64), "rms": nn.RMSNorm(64)})
    return nn.ModuleDict({"blocks": nn.ModuleList([block]), "ln_f": nn.LayerNorm(64)})


@pytest.mark.parametrize("name", ["ln_1", "rms"])
def test_blocks_of_a_norm_are_rounded_as_by_hand(name: str) -> None:
    norm = blocks().blocks[0][name]  # type: ignore[union-attr, index]
    with torch.no_grad():
        norm.weight.copy_(1 + 0.05 * torch.randn(64))
    weight, x = norm.weight.detach().clone(), torch.randn(3, 64)
    ag.quantize_model(nn.ModuleDict({"norm": norm}), [ag.Rule("norm", weight=MX, activation=ag.Quantizer("e5m2"))])
    x8, w8 = ag.quantize(x, ag.Quantizer(ag.load_format("e5m2"))).values, ag.quantize(weight[None], MX).values[0]
    assert not torch.equal(w8, weight)
    centred = x8 - x8.mean(-1, keepdim=True) if name == "ln_1" else x8
    eps = 1e-5 if name == "ln_1" else torch.finfo(torch.float32).eps
    expected = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * w8
    torch.testing.assert_close(norm(x), expected)


def test_weights_near_one_clip_in_mx() -> None:
    """2506.20752, figure 5: 0.9 to 1 lie in the last binade below the shared power of two, beyond 448/512 of E4M3."""
    weight = torch.linspace(0.9, 0.999, 32)
    assert torch.equal(ag.quantize(weight[None], MX).values, torch.full((1, 32), 0.875))


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("*", ["blocks.0.fc"]),
        ("blocks.*", ["blocks.0.fc"]),
        ("blocks.*|ln_f", ["blocks.0.fc", "ln_f"]),
        ("*.ln_*", ["blocks.0.ln_1"]),
        ("*ln_*", ["blocks.0.ln_1", "ln_f"]),
        ("*.rms", ["blocks.0.rms"]),
    ],
)
def test_a_star_at_the_end_leaves_out_norms_and_a_name_does_not(pattern: str, selected: list[str]) -> None:
    assert list(ag.quantize_model(blocks(), [ag.Rule(pattern, weight=MX)]).layers) == selected


def test_a_norm_without_a_weight_is_no_layer() -> None:
    model = nn.ModuleDict({"norm": nn.LayerNorm(4, elementwise_affine=False), "fc": nn.Linear(4, 4)})
    assert list(ag.quantize_model(model, [ag.Rule("*", weight=MX)]).known) == ["fc"]


@pytest.mark.parametrize("optimizer", ["adamw", "manifold-adamw"])
def test_a_run_trains_quantized_norms(optimizer: str, altgrad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    rule = (
        '\n[[recipe]]\nlayers = "*ln_*"\nweight = { format = "e4m3", granularity = "block:8", scale_format = "e8m0" }\n'
    )
    tiny.write_text(tiny.read_text() + rule)
    said = altgrad("run", tiny, "--out", tmp_path / "run", "--steps", 3, "--set", f'optimizer={{use="{optimizer}"}}')
    assert said.code == 0, said.err
    assert "blocks.0.ln_1" in altgrad("check", tiny, "--json").out
