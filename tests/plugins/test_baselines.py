"""AdamW as everybody knows it."""

from __future__ import annotations

import copy

import torch
from altgrad_baselines import AdamW
from torch import nn

from altgrad_core import Quantizer, Rule, build_optimizer, load_format, quantize_model


def test_adamw_is_torchs_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    twin = copy.deepcopy(model)
    plan = quantize_model(model, [Rule("*", weight=Quantizer(load_format("e4m3")))])
    ours = build_optimizer("adamw", plan.params(), lr=0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)
    matrices = [p for p in twin.parameters() if p.dim() >= 2]
    vectors = [p for p in twin.parameters() if p.dim() < 2]
    theirs = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.01,
        betas=(0.8, 0.95),
        eps=1e-6,
        weight_decay=0.1,
    )
    for _ in range(5):
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_its_defaults_are_torchs() -> None:
    theirs = torch.optim.AdamW([nn.Parameter(torch.zeros(1))]).defaults
    ours = AdamW()
    expected = (theirs["lr"], *theirs["betas"], theirs["eps"], theirs["weight_decay"])
    assert (ours.lr, ours.beta1, ours.beta2, ours.eps, ours.weight_decay) == expected
