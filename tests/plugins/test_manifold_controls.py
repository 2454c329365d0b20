"""The controls of ManifoldAdamW's step: the line of another format, and spacings that are not those of the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from altgrad_manifold import ManifoldAdamW
from altgrad_manifold.lines import lines_of
from altgrad_manifold.optimizer import ManifoldAdamW as Walker
from altgrad_manifold.optimizer import Variant
from altgrad_manifold.spacings import shuffled
from pydantic import ValidationError
from torch import Tensor, nn

from altgrad_core import FormatError, Geometry, Quantizer, Rule, build_optimizer, load_format, quantize, quantize_model
from altgrad_core.testing import check_optimizer
from altgrad_core.testing.tiny import bits, tiny_run, train

E4M3 = load_format("e4m3")
ONCE: dict[str, Any] = {"lr": 0.5, "lr_unit": "rungs", "weight_decay": 0.0}


def walker(parameters: Any, *, geometry: Any, **options: Any) -> Walker:
    """The optimizer, from options of both kinds: those of the variant and all others."""
    variant = {name: options.pop(name) for name in [f.name for f in fields(Variant)] if name in options}
    return Walker(parameters, geometry=geometry, variant=Variant(**variant), **options)


def weights() -> Tensor:
    """A matrix from 2^-9 to 1.2 in magnitude, of both signs."""
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(8, 8, generator=generator).clamp(-1.2, 1.2).sign()
        * torch.logspace(-9, 0, 64, base=2).view(8, 8)
        * 1.2
    )


def after(weight: Tensor, geometry: Geometry | None, *, steps: int = 3, **options: Any) -> Tensor:
    """A matrix after some steps by the same random gradients, on this line or on that of E4M3 laid over it."""
    parameter = nn.Parameter(weight.clone())
    line = lines_of(E4M3, [{"params": [parameter]}], {}) if geometry is None else {parameter: geometry}
    optimizer = walker([parameter], geometry=line, **{**ONCE, **options})
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        parameter.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()
    return parameter.detach()


def trained(format: str, **options: Any) -> dict[str, bytes]:
    """The weights of a tiny run whose inner layers are in this format."""
    run = tiny_run(optimizer=ManifoldAdamW(**options), format=load_format(format))
    train(run)
    return {name: bits(tensor) for name, tensor in run.model.named_parameters()}


INNER = ("hidden.weight", "wide.weight")

# ---- the line of another format ----


@pytest.mark.parametrize("format", ["e0m7", "e4m3", "e7m0"])
@pytest.mark.parametrize("options", [{}, {"walk": "linear"}, {"floor": 2}, {"precondition": "gradient"}], ids=str)
def test_the_line_of_a_weights_own_format_changes_nothing(format: str, options: dict[str, Any]) -> None:
    grids: list[Tensor] = []
    for given in ({}, {"geometry": format}):
        model = nn.Sequential(nn.Linear(8, 8, bias=False))
        model[0].weight.data.copy_(weights())
        plan = quantize_model(model, [Rule("0", weight=Quantizer(format, scaling="delayed"))])
        optimizer = build_optimizer("manifold-adamw", plan.params(), **options, **given)
        for step in range(3):
            model(torch.eye(8)).square().sum().mul(1 + step).backward()
            optimizer.step()
            plan.step()
        grids.append(model[0].weight.detach())
    assert torch.equal(*grids)


def test_another_formats_line_is_another_step() -> None:
    own, other = trained("e4m3"), trained("e4m3", geometry="e0m7")
    assert [name for name in INNER if own[name] == other[name]] == []


def test_a_weight_that_is_not_quantized_walks_on_the_line_at_the_scale_it_would_have() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    optimizer = build_optimizer("manifold-adamw", quantize_model(model, []).params(), geometry="e4m3", **ONCE)
    weight = model[0].weight
    for largest, gap in ((450.0, 2.0**-8), (448.0, 2.0**-9), (1.0, 2.0**-17)):  # the scales are 2, 1 and 2^-8 ...
        weight.data.copy_(torch.tensor([[largest, 0.0]]))
        weight.grad = torch.tensor([[0.0, 1.0]])
        optimizer.step()
        assert weight.tolist() == [[largest, pytest.approx(-0.5 * gap, rel=1e-5)]]  # ... subnormals are 2^-9 apart


@pytest.mark.parametrize("options", [{}, {"spacing": "rms"}, {"spacing": "shuffled"}, {"floor": 2}], ids=str)
def test_a_first_step_is_that_on_a_grid_at_the_scale_of_the_weights(options: dict[str, Any]) -> None:
    at_scale = Geometry.of(E4M3, 2.0**-8)  # 448 * 2^-8 = 1.75 is the least of these above 1.2
    assert torch.equal(after(weights(), None, steps=1, **options), after(weights(), at_scale, steps=1, **options))


def test_on_the_uniform_line_of_e0m7_an_unquantized_matrix_takes_adamws_steps() -> None:
    weight = weights()
    parameter, reference = nn.Parameter(weight.clone()), nn.Parameter(weight.clone())
    line = lines_of(load_format("e0m7"), [{"params": [parameter]}], {})
    ours = walker([parameter], geometry=line, lr=0.3, lr_unit="rungs", weight_decay=0.0)
    theirs = torch.optim.AdamW([reference], lr=0.3 * 2 / 128, weight_decay=0.0)  # 1.2 needs a scale of 2
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        parameter.grad = torch.randn(8, 8, generator=generator) * 0.01
        reference.grad = parameter.grad.clone()
        ours.step()
        theirs.step()
        assert 127 / 128 < parameter.abs().max() <= 127 / 64  # where the scale is 2
    torch.testing.assert_close(parameter, reference, rtol=0, atol=2e-6)


def test_every_matrix_gets_the_line_and_no_vector_does() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    plan = quantize_model(model, [Rule("0", weight=Quantizer("e0m7"))])
    optimizer = build_optimizer("manifold-adamw", plan.params(), geometry="e4m3")
    by_kind = {
        plain: {p for g in optimizer.param_groups if g["plain"] is plain for p in g["params"]}
        for plain in (False, True)
    }
    assert by_kind == {False: {model[0].weight, model[1].weight}, True: {model[0].bias, model[1].bias}}


@pytest.mark.parametrize("largest", [0.0, float("nan"), float("inf"), 1e-38, 3e38])
def test_the_line_has_a_scale_whatever_the_weights_are(largest: float) -> None:
    parameter = nn.Parameter(torch.tensor([[largest, 0.0]]))
    how = Quantizer(E4M3)
    expected = quantize(parameter.detach(), how).scale
    assert torch.equal(lines_of(E4M3, [{"params": [parameter]}], {})[parameter].scale, expected)


def test_the_scale_of_a_line_that_is_laid_over_a_weight_cannot_be_fixed() -> None:
    parameter = nn.Parameter(weights())
    with pytest.raises(FormatError) as caught:
        lines_of(E4M3, [{"params": [parameter]}], {})[parameter].fix_scale()
    assert str(caught.value) == 'the line of "e4m3" is laid over the weight again each step: its scale cannot be fixed'


# ---- spacings ----


def test_one_spacing_of_a_uniform_grid_is_the_own_one() -> None:
    uniform = Geometry.of(load_format("e0m7"), 2.0)
    for control in ("rms", "shuffled", "initial", "initial-rms"):
        assert torch.equal(after(weights(), uniform, spacing=control), after(weights(), uniform, walk="linear")), (
            control
        )


@pytest.mark.parametrize(
    ("control", "spacings"),
    [
        ("rms", [((2.0**-5) ** 2 / 3 + (2.0**-3) ** 2 / 3 + (2.0**-1) ** 2 / 3) ** 0.5] * 3),
        ("shuffled", [2.0**-5, 2.0**-1, 2.0**-3]),  # of three elements the last two change places
    ],
)
def test_a_step_is_the_rate_times_the_direction_times_the_spacing(control: str, spacings: list[float]) -> None:
    parameter = nn.Parameter(torch.tensor([[0.3, 1.5, 5.0]]))  # at which e4m3 has spacings of 2^-5, 2^-3 and 2^-1
    optimizer = walker([parameter], geometry={parameter: Geometry.of(E4M3)}, spacing=control, **ONCE)
    parameter.grad = torch.tensor([[1.0, -1.0, 1.0]])
    optimizer.step()
    expected = [0.3 - 0.5 * spacings[0], 1.5 + 0.5 * spacings[1], 5.0 - 0.5 * spacings[2]]
    assert parameter.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_initial_spacings_stay_when_weights_and_scale_move() -> None:
    parameter = nn.Parameter(torch.tensor([[1.0, 448.0]]))
    optimizer = walker([parameter], geometry=lines_of(E4M3, [{"params": [parameter]}], {}), spacing="initial", **ONCE)
    for value in (1.0, 100.0):  # the spacing at 100 is 8, that at 1 is 1/8
        parameter.data.copy_(torch.tensor([[value, 448.0 * value]]))
        parameter.grad = torch.tensor([[1.0, 0.0]])
        optimizer.step()
        assert value - parameter[0, 0].item() == pytest.approx(0.5 / 8, rel=1e-3)
    assert optimizer.state[parameter]["spacing"].tolist() == [[0.125, 32.0]]


def test_one_initial_spacing_is_the_root_mean_square_at_the_first_step() -> None:
    parameter = nn.Parameter(torch.tensor([[1.0, 448.0]]))
    grid = lines_of(E4M3, [{"params": [parameter]}], {})
    optimizer = walker([parameter], geometry=grid, spacing="initial-rms", **ONCE)
    for value in (1.0, 100.0):
        parameter.data.copy_(torch.tensor([[value, 448.0 * value]]))
        parameter.grad = torch.tensor([[1.0, -1.0]])
        before = parameter.tolist()[0]
        optimizer.step()
        one = ((0.125**2 + 32.0**2) / 2) ** 0.5
        assert parameter.tolist()[0] == pytest.approx([before[0] - 0.5 * one, before[1] + 0.5 * one], rel=1e-6)
    assert optimizer.state[parameter]["spacing"].tolist() == pytest.approx(one)


def test_shuffling_keeps_the_spacings_and_changes_their_places() -> None:
    values = torch.arange(1000.0).view(20, 50)
    once = shuffled(values)
    assert torch.equal(once.flatten().sort().values, values.flatten())
    assert torch.equal(once, shuffled(values))
    assert (once == values).sum() < 10  # one is the mean number of fixed points


@pytest.mark.parametrize("control", ["shuffled", "rms", "initial", "initial-rms"])
def test_a_control_of_the_spacing_is_another_run(control: str) -> None:
    own, other = trained("e4m3", walk="linear"), trained("e4m3", spacing=control)
    assert [name for name in INNER if own[name] == other[name]] == []


# ---- laws, and what is refused ----


@pytest.mark.parametrize(
    "options",
    [
        {"geometry": "e4m3"},
        {"geometry": "e7m0", "precondition": "gradient", "lr": 1e-3},
        {"spacing": "shuffled", "bit_position": True},
        {"spacing": "rms", "geometry": "e4m3"},
        {"spacing": "initial"},
        {"spacing": "initial-rms"},
    ],
    ids=str,
)
def test_it_keeps_the_laws_with_its_controls(options: dict[str, Any]) -> None:
    check_optimizer(ManifoldAdamW(**{"lr": 0.02, **options}))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"geometry": "e4m3", "precondition": "off"},
            'Value error, geometry does nothing with precondition = "off"; use "rungs" or "gradient"',
        ),
        (
            {"spacing": "rms", "precondition": "gradient"},
            'Value error, spacing = "rms" needs precondition = "rungs" and moments = "real"',
        ),
        (
            {"spacing": "initial", "moments": "carried"},
            'Value error, spacing = "initial" needs precondition = "rungs" and moments = "real"',
        ),
    ],
)
def test_a_control_that_would_do_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ManifoldAdamW(**options)
    assert [error["msg"] for error in caught.value.errors()] == [said]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("e4m4", 'optimizer.geometry: no format "e4m4"; did you mean "e4m3"?'),
        ("fp32", 'optimizer.geometry: "fp32" is the identity: it has no grid to step along'),
    ],
)
def test_a_line_that_there_is_not_is_found_before_the_first_step(
    name: str, said: str, tiny: Path, altgrad: Callable[..., Any]
) -> None:
    told = altgrad("check", tiny, "--set", f"optimizer.geometry={name}")
    assert (told.code, told.err) == (2, f"altgrad: --set: {said}\n")


def test_a_groups_line_is_looked_up_too(tiny: Path, altgrad: Callable[..., Any]) -> None:
    told = altgrad("check", tiny, "--set", "optimizer.group=[{layers='blocks.*', geometry='e5m3'}]")
    said = 'altgrad: --set: optimizer.group[0].geometry: no format "e5m3"; did you mean "e5m2"?\n'
    assert (told.code, told.err) == (2, said)


def test_in_python_the_identity_has_no_line_either() -> None:
    plan = quantize_model(nn.Sequential(nn.Linear(4, 4)), [])
    with pytest.raises(FormatError) as caught:
        build_optimizer("manifold-adamw", plan.params(), geometry="fp32")
    assert str(caught.value) == '"fp32" is the identity: it has no grid to step along'
