"""Madam and LNS-Madam, against their formulas worked out one element at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from altgrad_baselines.lns_madam import LNSMadam
from altgrad_baselines.madam import Madam
from torch import Tensor, nn

from altgrad_core import Quantizer, Rule, build_optimizer, load_format, quantize_model

BOTH = (Madam, LNSMadam)


def random(*, steps: int, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """A weight, and gradients of very different sizes."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(20, 30, generator=generator) * 0.1
    sizes = [10.0 ** float(torch.randn((), generator=generator)) for _ in range(steps)]
    return weight, [torch.randn(20, 30, generator=generator) * size for size in sizes]


def train(optimizer: torch.optim.Optimizer, gradients: list[Tensor]) -> Tensor:
    parameter = optimizer.param_groups[0]["params"][0]
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    result: Tensor = parameter.detach().clone()
    return result


def normalized(gradients: list[float], *, beta: float, bound: float) -> list[float]:
    """clamp(g / sqrt(v)) at every step, in Python floats."""
    v, result = 0.0, []
    for t, g in enumerate(gradients, start=1):
        v = beta * v + (1 - beta) * g * g
        size = math.sqrt(v / (1 - beta**t))
        result.append(0.0 if size == 0 else max(-bound, min(bound, g / size)))
    return result


def test_madam_is_its_formula() -> None:
    weight, gradients = random(steps=6)
    settings = {"lr": 0.1, "beta": 0.9, "g_bound": 1.2, "p_scale": 1.5}
    got = train(Madam([nn.Parameter(weight.clone())], **settings), gradients)
    limit = 1.5 * math.sqrt(sum(w * w for w in weight.flatten().tolist()) / weight.numel())
    expected = []
    for w, *column in zip(weight.flatten().tolist(), *(g.flatten().tolist() for g in gradients), strict=True):
        for g in normalized(column, beta=0.9, bound=1.2):
            w = max(-limit, min(limit, w * math.exp(-0.1 * g * math.copysign(1, w))))
        expected.append(w)
    assert got.flatten().tolist() == pytest.approx(expected, rel=1e-5)
    assert max(map(abs, expected)) == limit  # the clamp was tried
    assert all(abs(g) <= 1.2 for g in normalized([1.0, 0.0, 0.0, 99.0], beta=0.9, bound=1.2))


@pytest.mark.parametrize("power", [2.0**-10, 2.0**7])
@pytest.mark.parametrize("kind", BOTH)
def test_multiplying_the_weights_by_a_power_of_two_changes_nothing_else(kind: Any, power: float) -> None:
    weight, gradients = random(steps=5)
    plain = train(kind([nn.Parameter(weight.clone())]), gradients)
    scaled = train(kind([nn.Parameter(weight * power)]), [gradient / power for gradient in gradients])
    assert torch.equal(scaled, plain * power)


@pytest.mark.parametrize("kind", BOTH)
def test_no_weight_changes_its_sign_and_zero_stays_zero(kind: Any) -> None:
    weight, gradients = random(steps=10)
    weight[0] = 0.0
    moved = train(kind([nn.Parameter(weight.clone())], lr=0.5), gradients)
    assert torch.equal(moved.sign(), weight.sign())
    assert not torch.equal(moved, weight)


@pytest.mark.parametrize("kind", BOTH)
def test_a_weight_that_never_had_a_gradient_does_not_move(kind: Any) -> None:
    weight, gradients = random(steps=5)
    parameter = nn.Parameter(weight.clone())
    optimizer = kind([parameter])
    start = parameter.detach().clone()  # LNS-Madam has brought it to its grid
    for gradient in gradients:
        gradient[:10] = 0.0
    moved = train(optimizer, gradients)
    assert torch.equal(moved[:10], start[:10])
    assert (moved[10:] != start[10:]).float().mean() > 0.95  # a few came back


def test_at_rate_0_lns_madam_leaves_weights_that_were_set_beside_its_grid() -> None:
    weight, gradients = random(steps=3)
    parameter = nn.Parameter(torch.ones(20, 30))
    optimizer = LNSMadam([parameter], lr=0.0, base_factor=1)
    with torch.no_grad():
        parameter.copy_(weight)
    assert torch.equal(train(optimizer, gradients), weight)


def test_at_rate_0_madam_does_not_clamp_either() -> None:
    weight, gradients = random(steps=3)
    moved = train(Madam([nn.Parameter(weight.clone())], lr=0.0, p_scale=0.1), gradients)
    assert torch.equal(moved, weight)


def test_lns_madam_is_its_formula() -> None:
    weight, gradients = random(steps=6)
    settings = {"lr": 0.2, "beta": 0.9, "g_bound": 1.2, "base_factor": 8, "bits": 7}
    parameter = nn.Parameter(weight.clone())
    optimizer = LNSMadam([parameter], **settings)
    top = 2 * weight.abs().max().item()
    start = [round(8 * math.log2(top / abs(w))) for w in weight.flatten().tolist()]
    codes = [max(0, min(63, code)) for code in start]
    signs = [math.copysign(1, w) for w in weight.flatten().tolist()]
    assert parameter.flatten().tolist() == pytest.approx(
        [sign * top * 2 ** (-code / 8) for code, sign in zip(codes, signs, strict=True)], rel=1e-6
    )
    got = train(optimizer, gradients)
    expected = []
    for code, sign, *column in zip(codes, signs, *(g.flatten().tolist() for g in gradients), strict=True):
        for g in normalized(column, beta=0.9, bound=1.2):
            code = max(0, min(63, round(code + 8 * 0.2 * g * sign)))
        expected.append(sign * top * 2 ** (-code / 8))
    agree = [a == pytest.approx(b, rel=1e-6) for a, b in zip(got.flatten().tolist(), expected, strict=True)]
    assert sum(agree) >= 0.995 * len(agree)  # float32 and float64 may fall on two sides of a middle


def test_lns_madam_with_many_steps_a_binade_is_madam_in_base_2() -> None:
    weight, gradients = random(steps=8)
    logarithmic = LNSMadam([nn.Parameter(weight.clone())], lr=0.01, base_factor=2**20, bits=32)
    madam = Madam([nn.Parameter(weight.clone())], lr=0.01 * math.log(2), p_scale=1e6)
    torch.testing.assert_close(train(logarithmic, gradients), train(madam, gradients), rtol=1e-5, atol=0)


def test_the_exponents_of_lns_madam_stay_in_their_range() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 1.0, -1.0, 1e-9]))
    optimizer = LNSMadam([parameter], lr=1.0, base_factor=8, bits=8)  # 127/8 binades below 2
    lowest = 2 * 2 ** (-127 / 8)
    assert parameter.tolist() == pytest.approx([1.0, 1.0, -1.0, lowest])
    moved = train(optimizer, [torch.tensor([1.0, -1.0, -1.0, 1.0])] * 40)
    assert moved.tolist() == pytest.approx([lowest, 2.0, -lowest, lowest], rel=1e-6)


def test_lns_madam_rounds_small_steps_away_where_its_grid_is_coarse() -> None:
    coarse, fine = (
        train(LNSMadam([nn.Parameter(torch.ones(1))], lr=0.01, base_factor=factor), [torch.ones(1)] * 10).item()
        for factor in (8, 2048)
    )
    assert coarse == 1.0
    assert fine == pytest.approx(2**-0.1, rel=3e-3)


@pytest.mark.parametrize("factor", [8, 2**20])
def test_steps_of_less_than_half_of_one_of_the_grid_never_move_lns_madam(factor: int) -> None:
    weight, _ = random(steps=0)
    parameter = nn.Parameter(weight.clone())
    optimizer = LNSMadam([parameter], lr=0.45 / factor, base_factor=factor, bits=32)
    start = parameter.detach().clone()
    assert torch.equal(train(optimizer, [torch.ones(20, 30)] * 20), start)


@pytest.mark.parametrize("name", ["madam", "lns-madam"])
@pytest.mark.parametrize("rules", [[], [Rule("0", weight=Quantizer(load_format("e4m3")))]], ids=["float32", "e4m3"])
def test_matrices_are_multiplied_whether_they_are_quantized_or_not_and_vectors_take_adamw(
    name: str, rules: list[Rule]
) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.zero_()
    optimizer = build_optimizer(name, quantize_model(model, rules).params(), lr=0.25, plain_lr=0.5)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    base = math.e if name == "madam" else 2.0
    assert model[0].weight.flatten().tolist() == pytest.approx([base**-0.25] * 4)
    assert model[0].bias.tolist() == pytest.approx([-0.5, -0.5])
    settings = {(group["lr"], group["weight_decay"], group["plain"]) for group in optimizer.param_groups}
    assert settings == {(0.25, 0.01, False), (0.5, 0.0, True)}
