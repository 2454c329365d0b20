"""ManifoldAdamW: AdamW where it must be, and Adam's direction in rungs where it is not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
import torch
from altgrad_manifold import ManifoldAdamW
from altgrad_manifold.optimizer import ManifoldAdamW as Walker
from altgrad_manifold.optimizer import Variant
from torch import Tensor, nn

from altgrad_core import Geometry, Quantizer, Rule, build_optimizer, load_format, quantize_model
from altgrad_core.testing.tiny import bits, tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def walker(parameters: Any, *, geometry: Any, **options: Any) -> Walker:
    """The optimizer, from options of both kinds: those of the variant and all others."""
    variant = {name: options.pop(name) for name in [f.name for f in fields(Variant)] if name in options}
    return Walker(parameters, geometry=geometry, variant=Variant(**variant), **options)


def random_gradients(like: Tensor, *, steps: int, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(like.shape, generator=generator) * 0.01 for _ in range(steps)]


def walk(weight: Tensor, gradients: list[Tensor], *, format: str, scale: float = 1.0, **options: Any) -> Tensor:
    """A weight after these gradients; `lr` in rungs, no decay, unless options say otherwise."""
    parameter = nn.Parameter(weight.clone())
    settings = {"lr": 0.3, "lr_unit": "rungs", "weight_decay": 0.0, **options}
    geometry = {parameter: Geometry.of(load_format(format), scale)}
    optimizer = walker([parameter], geometry=geometry, **settings)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def direction_after(gradients: list[Tensor], *, eps: float = 1e-8) -> Tensor:
    """Adam's direction after these gradients, in float64, by the formulas of the paper."""
    m = v = torch.zeros_like(gradients[0], dtype=torch.float64)
    for gradient in gradients:
        m = 0.9 * m + 0.1 * gradient.double()
        v = 0.999 * v + 0.001 * gradient.double() ** 2
    count = len(gradients)
    return m / (1 - 0.9**count) / ((v / (1 - 0.999**count)).sqrt() + eps)


@pytest.mark.parametrize("format", ["e0m7", "e4m3", "e7m0"])
def test_off_is_torchs_adamw_bit_for_bit(format: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 4))
    twin = copy.deepcopy(model)
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format(format)))])
    ours = build_optimizer("manifold-adamw", plan.params(), precondition="off", lr=1e-3)
    matrices = [p for p in twin.parameters() if p.dim() >= 2]
    vectors = [p for p in twin.parameters() if p.dim() < 2]
    theirs = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], lr=1e-3)
    for step in range(10):
        for group in [*ours.param_groups, *theirs.param_groups]:
            group["lr"] = 1e-3 / (step + 1)
        for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
            mine.grad = torch.randn_like(mine)
            other.grad = mine.grad.clone()
        ours.step()
        theirs.step()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_off_is_torchs_fused_step_where_that_is_asked_for() -> None:
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    ours, theirs = nn.Parameter(weight.clone()), nn.Parameter(weight.clone())
    geometry = {ours: Geometry.of(load_format("e4m3"))}
    options = {"lr": 1e-3, "weight_decay": 0.1, "fused": True}
    mine = walker([ours], geometry=geometry, precondition="off", **options)
    other = torch.optim.AdamW([theirs], **options)
    for gradient in random_gradients(weight, steps=5):
        for parameter, optimizer in ((ours, mine), (theirs, other)):
            parameter.grad = gradient.clone()
            optimizer.step()
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("options", [{}, {"walk": "linear"}, {"moments": "carried"}, {"floor": 2}], ids=str)
def test_a_weight_whose_gradient_is_no_number_stays_and_is_counted(options: dict[str, Any]) -> None:
    parameter = nn.Parameter(torch.ones(3))
    geometry = {parameter: Geometry.of(load_format("e4m3"))}
    optimizer = walker([parameter], geometry=geometry, weight_decay=0.1, **options)
    for _ in range(2):
        parameter.grad = torch.tensor([1.0, float("nan"), -float("inf")])
        optimizer.step()
    first, *others = parameter.tolist()
    assert first < 1.0 and others == [1.0, 1.0]
    state = optimizer.state[parameter]
    assert state["broken"] == 4 and optimizer.moved[parameter].broken == 2
    assert state["exp_avg"].isfinite().all() and state["exp_avg_sq"].isfinite().all()
    parameter.grad = torch.ones(3)
    optimizer.step()
    assert parameter.max() < 1.0  # they go on


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize("mode", ["exact", "linear"])
def test_the_bit_position_is_the_sum_of_all_changes_of_rungs(
    format: str, mode: str, weights_of: Callable[..., Tensor]
) -> None:
    weight = weights_of(load_format(format))
    parameter = nn.Parameter(weight.clone())
    geometry = Geometry.of(load_format(format))
    optimizer = walker([parameter], geometry={parameter: geometry}, walk=mode, bit_position=True, weight_decay=0.01)
    for gradient in random_gradients(weight, steps=4):
        before = geometry.rung(parameter)
        parameter.grad = gradient
        optimizer.step()
        assert int(optimizer.moved[parameter].flips) == int((geometry.rung(parameter) != before).sum())
    bit_position = optimizer.state[parameter]["bit_position"]
    assert bit_position.dtype == torch.int32
    assert torch.equal(bit_position, geometry.rung(parameter) - geometry.rung(weight))


def test_a_bit_position_beyond_float32_survives_its_state_dict() -> None:
    parameter = nn.Parameter(torch.ones(2))
    geometry = {parameter: Geometry.of(load_format("e4m3"))}
    one, other = (walker([parameter], geometry=geometry, bit_position=True) for _ in range(2))
    parameter.grad = torch.ones(2)
    one.step()
    one.state[parameter]["bit_position"] += 2**24 + 1
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.state[parameter]["bit_position"], one.state[parameter]["bit_position"])
    other.step()


def test_carried_moments_are_those_of_the_gradient_by_rungs() -> None:
    weight = torch.tensor([1.1, 10.1, -0.3])
    gradients = random_gradients(weight, steps=3)
    spacing = Geometry.of(load_format("e4m3")).spacing(weight)
    by_rungs = [gradient * spacing for gradient in gradients]
    options = {"format": "e4m3", "lr": 1e-3, "eps": 1e-4}  # no weight leaves its binade; eps alone tells the two apart
    carried = walk(weight, gradients, moments="carried", **options)
    torch.testing.assert_close(carried, walk(weight, by_rungs, **options), rtol=1e-6, atol=0)
    assert not torch.equal(carried, walk(weight, gradients, **options))


def test_on_a_uniform_grid_it_is_adamw_with_its_rate_in_rungs() -> None:
    weight = torch.linspace(-1.2, 1.2, 501)  # beyond the ends too, where the last gap goes on
    gradients = random_gradients(weight, steps=20)
    reference = nn.Parameter(weight.clone())
    adamw = torch.optim.AdamW([reference], lr=0.3 / 128, weight_decay=0.0)
    for gradient in gradients:
        reference.grad = gradient.clone()
        adamw.step()
    torch.testing.assert_close(walk(weight, gradients, format="e0m7"), reference.detach(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize("mode", ["exact", "linear"])
def test_multiplying_weights_and_scale_by_a_power_of_two_changes_nothing(
    format: str, mode: str, weights_of: Callable[..., Tensor]
) -> None:
    weight = weights_of(load_format(format))
    weight = weight / weight.abs().max()
    scale = 2.0**-3
    gradients = random_gradients(weight, steps=5)
    plain = walk(weight, gradients, format=format, scale=scale, walk=mode, eps=2.0**-20)
    for power in (2.0**-4, 2.0**5):
        scaled = [gradient / power for gradient in gradients]  # of the same loss
        moved = walk(weight * power, scaled, format=format, scale=scale * power, walk=mode, eps=2.0**-20 / power)
        assert torch.equal(moved, plain * power)


@pytest.mark.parametrize("options", [{}, {"walk": "linear"}, {"precondition": "gradient", "lr": 1e-3}], ids=str)
def test_e0m7_and_e1m6_give_one_run_under_amax(options: dict[str, Any]) -> None:
    runs = [tiny_run(optimizer=ManifoldAdamW(**options), format=load_format(name)) for name in ("e0m7", "e1m6")]
    losses = [[record["loss"] for record in train(run).of("step")] for run in runs]
    assert losses[0] == losses[1]
    one, other = (run.model.state_dict() for run in runs)
    assert {name: bits(tensor) for name, tensor in one.items()} == {
        name: bits(tensor) for name, tensor in other.items()
    }


@pytest.mark.parametrize("format", EIGHT)
@pytest.mark.parametrize("unit", ["rungs", "binades"])
def test_a_step_in_rungs_is_the_rate_times_adams_direction(
    format: str, unit: str, weights_of: Callable[..., Tensor], obvious: Callable[..., Any]
) -> None:
    weight = weights_of(load_format(format))
    gradients = random_gradients(weight, steps=4)
    before = walk(weight, gradients[:3], format=format, lr=0.05, lr_unit=unit)
    after = walk(weight, gradients, format=format, lr=0.05, lr_unit=unit)
    mantissa_bits = 6 if format == "e0m7" else int(format[3])  # e0m7 is the grid of e1m6
    rate = 0.05 * (2**mantissa_bits if unit == "binades" else 1)
    grid = obvious(load_format(format))
    expected = rate * direction_after(gradients)
    moves = [grid.position(x) - grid.position(y) for x, y in zip(before.tolist(), after.tolist(), strict=True)]
    torch.testing.assert_close(torch.tensor(moves, dtype=torch.float64), expected, rtol=1e-4, atol=2e-4)


def test_the_linear_walk_steps_by_the_local_spacing() -> None:
    weight = torch.tensor([1.0, 1.5, -4.0, 0.001])
    gradients = [torch.tensor([1.0, -1.0, 1.0, 1.0])]
    spacing = torch.tensor([0.125, 0.125, 0.5, 2.0**-9])  # of e4m3
    moved = walk(weight, gradients, format="e4m3", walk="linear", lr=0.5)
    torch.testing.assert_close(moved, weight - 0.5 * spacing * torch.tensor([1.0, -1.0, 1.0, 1.0]))


def test_the_exact_walk_changes_its_stride_at_a_binade() -> None:
    weight = torch.tensor([1.0, 1.875, -1.0])
    moved = walk(weight, [torch.tensor([1.0, -1.0, 1.0])], format="e4m3", lr=2.0)
    assert moved.tolist() == pytest.approx([0.875, 2.25, -1.25])  # two rungs of 1/16; 1/8 then 1/4; two of 1/8


def test_gradient_is_adamw_of_the_gradient_times_the_spacing() -> None:
    weight = torch.tensor([1.0, 10.0, -0.3])
    gradients = random_gradients(weight, steps=5)
    reference = nn.Parameter(weight.clone())
    adamw = torch.optim.AdamW([reference], lr=1e-2, weight_decay=0.01)
    for gradient in gradients:
        reference.grad = gradient * Geometry.of(load_format("e4m3")).spacing(reference)
        adamw.step()
    options = {"precondition": "gradient", "lr": 1e-2, "weight_decay": 0.01}
    assert torch.equal(walk(weight, gradients, format="e4m3", **options), reference.detach())
