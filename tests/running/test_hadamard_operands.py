"""Operands of a model that are rounded after a Hadamard transform, and what needs a grid and is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.numerics.hadamard import transformed

if TYPE_CHECKING:
    from tests.running.conftest import Runs

ROTATED = ag.Quantizer("e4m3", scaling=ag.Scaling("amax", granularity="row"), hadamard=8, hadamard_signs=1)
PLAIN = ag.Quantizer(ag.load_format("e4m3"), scaling=ag.Scaling("amax", granularity="row"))


def test_blocks_run_along_what_each_product_sums_over() -> None:
    """With both operands rotated, every product is that of the rounded rotated operands."""
    torch.manual_seed(0)
    layer, x, g = nn.Linear(16, 24, bias=False), torch.randn(8, 16, requires_grad=True), torch.randn(8, 24)
    roles = ("weight", "activation", "gradient")
    apart = ("weight_for_input_gradient", "activation_for_weight_gradient", "gradient_for_weight_gradient")
    ag.quantize_model(layer, [ag.Rule("*", **dict.fromkeys((*roles, *apart), ROTATED))])
    y = layer(x)
    y.backward(g)

    def q(matrix: torch.Tensor) -> torch.Tensor:
        return ag.quantize(transformed(matrix.contiguous(), 8, 1), PLAIN).values

    w, x0 = layer.weight.detach(), x.detach()
    torch.testing.assert_close(y.detach(), q(x0) @ q(w).T, rtol=1e-4, atol=1e-5)
    assert x.grad is not None and layer.weight.grad is not None
    torch.testing.assert_close(x.grad, q(g) @ q(w.T).T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad, q(g.T) @ q(x0.T).T, rtol=1e-4, atol=1e-5)


def test_programs_and_baked_weights_have_the_rounded_values() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 8), torch.randn(4, 16)
    whole = ag.Quantizer("e4m3", hadamard=8)
    plan = ag.quantize_model(layer, [ag.Rule("*", weight=whole, activation=whole)])
    expected = layer.eval()(x)
    program = torch.export.export(layer, (x,))
    assert torch.equal(program.module()(x), expected)
    rounded = ag.quantize(layer.weight.detach(), ag.Quantizer(ag.load_format("e4m3"), hadamard=8)).values
    with pytest.raises(
        ag.RunError, match="weight is rounded after a Hadamard transform, which a file of codes has no place"
    ):
        plan.export("nowhere")
    plan.remove(bake=True)
    assert torch.equal(layer.weight.detach(), rounded)


def test_scales_are_those_of_the_rotated_weight_from_the_start() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(16, 8)
    plan = ag.quantize_model(layer, [ag.Rule("*", weight=ag.Quantizer("e4m3", hadamard=8))])
    operand = next(plan.operands())
    before = operand.scale.clone()
    layer(torch.randn(2, 16))
    assert torch.equal(operand.scale, before)


@pytest.mark.parametrize("optimizer", ["manifold-adamw", "grid", "adamw-stochastic"])
def test_an_optimizer_that_steps_along_grids_is_refused_before_the_first_step(
    optimizer: str, altgrad: Callable[..., Any], tiny: Path
) -> None:
    rotated = ("--set", "recipe[0].weight.hadamard=8", "--set", "monitor=[]")
    said = altgrad("check", tiny, *rotated, "--set", f'optimizer={{use="{optimizer}"}}')
    assert said.code == 2
    assert f"{optimizer} steps along the grid of a weight, and blocks.0." in said.err
    assert "choose another optimizer, such as adamw" in said.err
    assert altgrad("check", tiny, *rotated, "--set", 'optimizer={use="adamw"}').code == 0


@pytest.mark.parametrize("monitor", ["flips", "code-use", "stiffness", "quantization-error", "displacement"])
def test_a_monitor_that_reads_grids_is_refused_unless_it_looks_elsewhere(
    monitor: str, altgrad: Callable[..., Any], tiny: Path
) -> None:
    options = ("--set", "recipe[0].weight.hadamard=8", "--set", 'optimizer={use="adamw"}', "--set")
    said = altgrad("check", tiny, *options, f'monitor=[{{use="{monitor}"}}]')
    assert said.code == 2
    assert f"{monitor} reads the grid of weights, and that of blocks.0." in said.err
    assert altgrad("check", tiny, *options, f'monitor=[{{use="{monitor}", layers="lm_head"}}]').code == 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("recipe[0].weight.hadamard=12", "recipe[0].weight: hadamard = 12: expected a power of two, such as 16"),
        (
            "recipe[0].weight.hadamard=64",
            "hadamard = 64: the product sums over 16 elements, which is not a multiple of 64",
        ),
        ("recipe[0].moment={format='e4m3', hadamard=8}", "recipe[0].moment.hadamard: is of the operands of a product"),
    ],
)
def test_a_manifest_says_what_is_wrong(setting: str, said: str, altgrad: Callable[..., Any], tiny: Path) -> None:
    told = altgrad("check", tiny, "--set", "monitor=[]", "--set", setting)
    assert told.code == 2 and said in told.err


def test_a_run_of_rotated_operands_resumes_bit_for_bit(runs: Runs) -> None:
    rotated = "hadamard = 8, hadamard_signs = 2"
    runs.text = runs.text.partition("[[monitor]]")[0] + (
        '\n[[recipe]]\nlayers = "blocks.*"\n'
        f'weight = {{ format = "e4m3", {rotated} }}\n'
        f'activation = {{ format = "e4m3", scaling = "delayed", {rotated} }}\n'
        f'gradient_for_weight_gradient = {{ format = "e5m2", rounding = "stochastic", {rotated} }}\n'
        f'activation_for_weight_gradient = {{ format = "e4m3", {rotated} }}\n'
        '\n[[monitor]]\nuse = "stability"\nevery = 4\n'
    )
    runs.begin("whole", 'optimizer={ use = "adamw" }')
    runs.begin("parts", 'optimizer={ use = "adamw" }', at=3)
    assert runs.resume("parts").status == "finished"
    assert runs.result("parts") == runs.result("whole")
