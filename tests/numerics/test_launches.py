"""How often a CUDA device would be asked to do something, counted without one."""

from __future__ import annotations

import pytest
import torch

import altgrad_core as ag

pytest.importorskip("triton")
from altgrad_core.running.model.history import fetched
from altgrad_core.testing.launches import counted

E4M3 = ag.load_format("e4m3")


def launches(run) -> int:
    with counted():
        run()
    with counted() as log:
        run()
    assert not log.waits
    return log.launches


@pytest.mark.parametrize(
    ("scaling", "most"),
    [("none", 1), ("amax", 2), (ag.Scaling(granularity="row"), 1), (ag.Scaling(granularity="tile:8x8"), 1)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_quantizing_is_one_launch_and_two_where_a_tensor_takes_its_amax(scaling, most, dtype):
    x = torch.empty(64, 96, dtype=dtype, device="meta")
    assert launches(lambda: ag.quantize(x, ag.Quantizer(E4M3, scaling=scaling))) == most


def test_a_copy_to_the_device_is_waited_for_unless_it_is_asked_not_to_be():
    x, there = torch.ones(2), torch.empty(2, device="meta")
    for copies, waits in ((lambda: x.to("meta"), 1), (lambda: there.copy_(x), 1), (lambda: there.copy_(there + 1), 0)):
        with counted() as log:
            copies()
        assert sum(log.waits.values()) == waits
    with counted() as log:
        x.to("meta", non_blocking=True)
        there.copy_(x, non_blocking=True)
    assert not log.waits and log.launches == 2


@pytest.mark.parametrize(
    "operation", ["quantize", "rung", "position", "value", "spacing", "movement", "walk", "stochastic_walk"]
)
def test_a_scale_on_the_host_is_filled_in_without_waiting(operation):
    x, scale = torch.empty(64, 96, device="meta"), torch.tensor(0.5)
    grid = ag.Geometry.of(E4M3, scale)
    calls = {
        "quantize": lambda: ag.quantize(x, ag.Quantizer(E4M3), scale=scale),
        "movement": lambda: grid.movement(x, x, x),
        "walk": lambda: ag.walk(x, x.clone(), grid, gradient=x),
        "stochastic_walk": lambda: ag.stochastic_walk(x, x.clone(), grid, gradient=x, key=1),
    }
    with counted() as log:
        calls.get(operation, lambda: getattr(grid, operation)(x))()
    assert not log.waits, log.waits
    assert all(not isinstance(one, torch.Tensor) or one.is_meta for kernel in log.kernels for one in kernel.arguments)


def test_scales_of_rows_that_stayed_on_the_host_are_copied():
    x, scales = torch.empty(64, 96, device="meta"), torch.ones(64, 1)
    with counted() as log:
        done = ag.quantize(x, ag.Quantizer(E4M3, scaling=ag.Scaling(granularity="row")), scale=scales)
    assert done.values.is_meta and sum(log.waits.values()) == 1


def test_a_given_scale_and_chance_take_no_launch_of_their_own():
    x, scale = torch.empty(64, 96, device="meta"), torch.empty((), device="meta")
    assert launches(lambda: ag.quantize(x, ag.Quantizer(E4M3, "stochastic"), scale=scale, key=3)) == 1


def test_a_weight_moves_in_one_launch():
    weight, gradient, direction = (torch.empty(64, 96, device="meta") for _ in range(3))
    grid, state = ag.Geometry.of(E4M3, torch.empty((), device="meta")), {}
    ag.begin_moments(state, weight)
    adam = {"rungs": 0.1, "betas": (0.9, 0.95), "eps": 1e-8}
    assert launches(lambda: ag.adam_walk(weight, gradient, state, grid, **adam)) == 1
    assert launches(lambda: ag.walk(weight, direction, grid, gradient=gradient, momentum=0.9)) == 1
    assert launches(lambda: ag.stochastic_walk(weight, direction, grid, gradient=gradient, key=1)) == 1


def test_a_linear_layer_takes_at_most_twelve_launches_and_waits_for_nothing():
    layer = torch.nn.Sequential(torch.nn.Linear(32, 16, bias=False, device="meta"))
    inner = ag.Quantizer(E4M3, scaling="delayed")
    gradient = ag.Quantizer(ag.load_format("e5m2"), "stochastic", "delayed")
    rule = ag.Rule(layers="*", weight=ag.Quantizer(E4M3), activation=inner, gradient=gradient)
    plan = ag.quantize_model(layer, [rule])
    x = torch.empty(64, 32, device="meta", requires_grad=True)

    def run():
        layer(x).backward(torch.empty(64, 16, device="meta"))
        layer[0].weight.grad = x.grad = None

    with counted() as log:
        for _ in range(2):
            run()
            plan.step()
    assert sum(log.waits.values()) == 2, "one for each step"
    with counted() as log:
        run()
    assert log.launches <= 12 and not log.waits
    with counted() as log:
        fetched([torch.empty((), device="meta")] * 2, plan.operands())  # loss and norm, as a run logs them
        plan.step()
    assert sum(log.waits.values()) == 1


def logged_step(layers, monitors, every, out):
    """What a step of so many quantized linear layers launches, after some others."""
    linear = (torch.nn.Linear(16, 16, bias=False, device="meta") for _ in range(layers))
    model = torch.nn.Sequential(*linear)
    plan = ag.quantize_model(model, [ag.Rule(layers="*", weight=ag.Quantizer(E4M3))])
    optimizer = ag.build_optimizer("manifold-adamw", params=plan.params(), lr=0.01)
    watch = ag.watch(model, optimizer, monitors=monitors, every=every, out=out / f"{layers}-{len(monitors)}")

    def step():
        loss = model(torch.empty(4, 16, device="meta")).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        plan.step()
        watch.step(loss)

    with counted():
        for _ in range(5):  # the first looks compare contents, which tells who writes to weights
            step()
    with counted() as log:
        step()
    return log


@pytest.mark.parametrize("name", ["flips", "stability", "quantization-error", "displacement", "code-use"])
def test_a_monitor_that_looks_waits_once_for_all_layers(name, tmp_path):
    waits = [sum(logged_step(layers, [name], 1, tmp_path).waits.values()) for layers in (1, 4)]
    assert waits[0] == waits[1] <= 4


def test_monitors_that_look_at_every_step_launch_little_and_wait_for_nothing_between_reports(tmp_path):
    without, looked_at = (
        [logged_step(layers, monitors, 1000, tmp_path) for layers in (2, 6)]
        for monitors in ([], ["flips", "stability"])
    )
    a_layer = [(large.launches - small.launches) / 4 for small, large in (without, looked_at)]
    assert a_layer[1] - a_layer[0] <= 3  # a copy of the weight, the counts, and their sum
    assert [log.waits for log in looked_at] == [log.waits for log in without]


@pytest.mark.parametrize("shape", [(64, 96), (3, 5, 7)])
def test_what_a_step_did_in_rungs_is_counted_in_one_launch(shape):
    grid = ag.Geometry.of(E4M3, torch.empty((), device="meta"))
    assert launches(lambda: grid.movement(*[torch.empty(shape, device="meta")] * 3)) == 1
