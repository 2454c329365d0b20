"""The grid optimizer, against its definition worked out one element at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from altgrad_grid import GridSpec
from altgrad_grid.optimizer import GridOptimizer, Variant
from torch import Tensor, nn

from altgrad_core import Geometry, Plan, Quantizer, Rule, Scaling, build_optimizer, load_format, quantize_model
from altgrad_core.testing.tiny import bits, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def grid_optimizer(parameters: Any, *, geometry: Any, **options: Any) -> GridOptimizer:
    """The optimizer, from options of both kinds: those of the variant and all others."""
    variant = {name: options.pop(name) for name in [f.name for f in fields(Variant)] if name in options}
    return GridOptimizer(parameters, geometry=geometry, variant=Variant(**variant), **options)


def optimizer_of(parameter: nn.Parameter, *, format: str, scale: float = 1.0, **options: Any) -> GridOptimizer:
    """Without decay, unless options say otherwise."""
    geometry = {parameter: Geometry.of(load_format(format), scale)}
    return grid_optimizer([parameter], geometry=geometry, **{"weight_decay": 0.0, **options})


def step(parameter: nn.Parameter, optimizer: GridOptimizer, gradient: Tensor) -> Tensor:
    parameter.grad = gradient.clone()
    optimizer.step()
    return parameter.detach().clone()


@pytest.mark.parametrize("format", EIGHT)
def test_a_master_walks_by_clipped_momentum_in_rungs(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any]
) -> None:
    weight = weights_of(load_format(format))
    generator = torch.Generator().manual_seed(0)
    gradients = [torch.randn(weight.shape, generator=generator) for _ in range(4)]
    parameter = nn.Parameter(weight.clone())
    optimizer = optimizer_of(parameter, format=format, lr=0.7, momentum=0.8, rung_clip=1.5, weight_decay=0.01)
    grid = obvious(load_format(format))
    expected, velocity = weight.tolist(), [0.0] * len(weight)
    for gradient in gradients:
        step(parameter, optimizer, gradient)
        velocity = [0.8 * v + g for v, g in zip(velocity, gradient.tolist(), strict=True)]
        moves = [max(-1.5, min(1.5, 0.7 * v)) for v in velocity]
        expected = [grid.value(grid.position(0.99 * w) - r) for w, r in zip(expected, moves, strict=True)]
    got = [grid.position(w) for w in parameter.tolist()]
    assert got == pytest.approx([grid.position(w) for w in expected], abs=2e-3)


def test_the_weight_of_the_forward_pass_is_the_nearest_rung_of_the_master() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3"), scaling="none"))])
    optimizer = build_optimizer("grid", plan.params(), lr=0.5)
    model[0].weight.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    geometry = Geometry.of(load_format("e4m3"))
    weight = model[0].weight.detach()
    assert torch.equal(model(torch.eye(4)).T, geometry.value(geometry.rung(weight)))
    assert not torch.equal(geometry.value(geometry.rung(weight)), weight)


def test_decay_follows_the_schedule_and_not_the_rate() -> None:
    parameter = nn.Parameter(torch.tensor([1.0]))
    optimizer = optimizer_of(parameter, format="e4m3", lr=50.0, weight_decay=0.5)
    step(parameter, optimizer, torch.zeros(1))
    optimizer.param_groups[0]["lr"] = 25.0
    assert step(parameter, optimizer, torch.zeros(1)).tolist() == [0.5 * 0.75]


def test_rms_divides_the_velocity_by_its_root_mean_square() -> None:
    parameter = nn.Parameter(torch.tensor([0.25, 0.25, 0.25, 0.25]))
    optimizer = optimizer_of(parameter, format="e0m7", lr=4.0, normalize="rms")
    moved = step(parameter, optimizer, torch.tensor([3e-9, -3e-9, 1e-9, 1e-9]))  # rms: sqrt(5) * 1e-9
    expected = [0.25 - 4 * g / 5**0.5 / 128 for g in (3, -3, 1, 1)]
    assert moved.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("master", ["fp32", "none"])
def test_rms_of_nothing_is_no_step(master: str) -> None:
    parameter = nn.Parameter(torch.tensor([0.5, -1.0]))
    optimizer = optimizer_of(parameter, format="e4m3", normalize="rms", master=master)
    assert step(parameter, optimizer, torch.zeros(2)).tolist() == [0.5, -1.0]


@pytest.mark.parametrize("format", EIGHT)
def test_without_a_master_the_weight_never_leaves_the_grid(
    format: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any]
) -> None:
    weight = weights_of(load_format(format))
    parameter = nn.Parameter(weight.clone())
    optimizer = optimizer_of(parameter, format=format, master="none", lr=3.0, weight_decay=1e-2)
    rungs = set(obvious(load_format(format), 1.0).values)
    assert set(parameter.tolist()) <= rungs
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        step(parameter, optimizer, torch.randn(weight.shape, generator=generator))
        assert set(parameter.tolist()) <= rungs


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_without_a_master_the_weight_stays_at_the_ends(format: str, sign: float, obvious: Callable[..., Any]) -> None:
    grid = obvious(load_format(format), 1.0)
    parameter = nn.Parameter(torch.full((64,), grid.values[-1] * sign))
    optimizer = optimizer_of(parameter, format=format, master="none", lr=100.0)
    for _ in range(3):
        assert step(parameter, optimizer, torch.full((64,), -sign)).tolist() == [grid.values[-1] * sign] * 64


@pytest.mark.parametrize("rungs", [0.25, -0.25, 1.3, -2.6, 3.0])
def test_without_a_master_whole_rungs_are_unbiased(rungs: float) -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.zeros(40_000))
    optimizer = optimizer_of(parameter, format="e0m7", master="none", lr=1.0)
    moved = -step(parameter, optimizer, torch.full((40_000,), rungs)) * 128
    low, high = torch.tensor(rungs).floor().item(), torch.tensor(rungs).ceil().item()
    assert set(moved.tolist()) == {low, high}
    assert moved.mean().item() == pytest.approx(rungs, abs=0.012)


def test_without_a_master_decay_is_unbiased_too() -> None:
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.full((40_000,), 0.5))
    optimizer = optimizer_of(parameter, format="e0m7", master="none", weight_decay=0.01)
    moved = step(parameter, optimizer, torch.zeros(40_000))
    assert set(moved.tolist()) == {0.5, 0.5 - 1 / 128}
    assert moved.mean().item() == pytest.approx(0.5 * 0.99, abs=1e-4)


def test_without_a_master_a_move_is_clipped() -> None:
    parameter = nn.Parameter(torch.zeros(8))
    optimizer = optimizer_of(parameter, format="e0m7", master="none", lr=1e6, rung_clip=7.0)
    assert step(parameter, optimizer, -torch.ones(8)).tolist() == [7 / 128] * 8


def quantized(scaling: Scaling | str) -> tuple[nn.Sequential, Plan]:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.linspace(-1, 1, 64).view(8, 8))
    return model, quantize_model(model, [Rule("0", weight=Quantizer(load_format("e4m3"), scaling=scaling))])


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ("amax", 2 * 2.0**-8),  # 448 * 2 ** -8 = 1.75 is the least that holds 1; and a binade of headroom
        (Scaling("amax", "exact"), 2 / 448),
        ("none", 1.0),
    ],
)
def test_without_a_master_the_scale_is_fixed_and_the_forward_pass_leaves_the_weight_as_it_is(
    scaling: Scaling | str, expected: float
) -> None:
    model, plan = quantized(scaling)
    optimizer = build_optimizer("grid", plan.params(), master="none")
    operand = plan.layers["0"]["weight"]
    for _ in range(5):
        weight = model[0].weight.detach().clone()
        assert torch.equal(model(torch.eye(8)).T, weight)
        model(torch.eye(8)).square().sum().backward()
        optimizer.step()
        plan.step()
    assert operand.scale.item() == pytest.approx(expected, rel=1e-7)


def test_a_weight_that_is_nan_stays_nan() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, float("nan")]))
    optimizer = optimizer_of(parameter, format="e4m3", master="none")
    assert step(parameter, optimizer, torch.ones(2)).isnan().tolist() == [False, True]


@pytest.mark.parametrize("master", ["fp32", "none"])
@pytest.mark.parametrize("normalize", ["none", "rms"])
def test_a_weight_whose_gradient_is_no_number_stays_and_is_counted(master: str, normalize: str) -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(parameter, format="e4m3", normalize=normalize, master=master, weight_decay=0.1)
    for _ in range(2):
        first, *others = step(parameter, optimizer, torch.tensor([1.0, float("nan"), float("inf")])).tolist()
        assert first < 1.0 and others == [1.0, 1.0]
    assert optimizer.state[parameter]["broken"] == 4
    assert optimizer.moved[parameter].broken == 2
    assert step(parameter, optimizer, torch.ones(3)).max() < 1.0  # they go on


@pytest.mark.parametrize("to", ["e2m5", "e5m2", "e3m4"])
def test_without_a_master_a_switch_of_format_moves_no_weight_by_more_than_half_a_gap(
    to: str, obvious: Callable[..., Any]
) -> None:
    model, plan = quantized("amax")
    optimizer = build_optimizer("grid", plan.params(), master="none", weight_decay=0.0)
    before = model[0].weight.flatten().tolist()
    plan.switch("0", "weight", to)
    (model(torch.eye(8)) * 0).sum().backward()
    optimizer.step()
    grid = obvious(load_format(to), plan.layers["0"]["weight"].scale.item())
    assert model[0].weight.flatten().tolist() == [grid.value(grid.rung(w)) for w in before]


@pytest.mark.parametrize("options", [{}, {"master": "none"}, {"normalize": "rms", "lr": 0.1}], ids=str)
def test_e0m7_and_e1m6_give_one_run_under_amax(options: dict[str, Any]) -> None:
    runs = [tiny_run(optimizer=GridSpec(**options), format=load_format(name)) for name in ("e0m7", "e1m6")]
    for run in runs:
        train(run)
    one, other = (run.model.state_dict() for run in runs)
    assert {name: bits(tensor) for name, tensor in one.items()} == {
        name: bits(tensor) for name, tensor in other.items()
    }
