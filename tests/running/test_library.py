"""The pieces that a training script of one's own uses."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import altgrad_core as ag


def test_a_format_is_loaded_by_name_in_any_case_or_made_of_facts() -> None:
    assert ag.load_format("E4M3") is ag.load_format("e4m3")
    assert ag.load_format(exponent_bits=4, mantissa_bits=3, bias=8).largest == 240.0


def test_an_unknown_format_is_guessed_at() -> None:
    with pytest.raises(ag.PluginError, match=re.escape('no format "e4m4"; did you mean "e4m3"?')):
        ag.load_format("e4m4")


def test_a_quantizer_of_a_name_says_that_it_is_only_a_name() -> None:
    with pytest.raises(ag.FormatError) as caught:
        ag.fake_quantize(torch.ones(2), ag.Quantizer("e4m3"))
    assert str(caught.value) == '"e4m3" is only a name here; pass load_format("e4m3")'


@pytest.mark.parametrize("name", ["adamw", "manifold-adamw", "grid"])
@pytest.mark.parametrize("format", ["e0m7", "e4m3", "e7m0", "bf16", "fp32"])
def test_every_optimizer_trains_in_a_loop_of_ones_own(name: str, format: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer(format), gradient=ag.Quantizer("e5m2"))])
    rates = {
        "adamw": 0.01,
        "manifold-adamw": 0.1,
        "grid": 0.1 if format == "e7m0" else 6.0,
    }  # a rung of e7m0 is a doubling
    optimizer = ag.build_optimizer(name, plan.params(), lr=rates[name])
    x = torch.randn(64, 8)
    target = x.sum(1, keepdim=True).tanh()
    losses = []
    for _ in range(150):
        loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_option_of_an_optimizer_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    with pytest.raises(ValidationError, match="lrr"):
        ag.build_optimizer("adamw", plan.params(), lrr=1)


def test_vectors_get_no_weight_decay() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    optimizer = ag.build_optimizer("adamw", plan.params(), weight_decay=0.3)
    assert [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups] == [(1, 0.3), (1, 0.0)]


def test_frozen_parameters_are_not_given_to_the_optimizer() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].bias.requires_grad_(False)
    plan = ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"))])
    optimizer = ag.build_optimizer("manifold-adamw", plan.params())
    assert [p.shape for group in optimizer.param_groups for p in group["params"]] == [(2, 2)]


def _trained_briefly() -> list[torch.Tensor]:
    """The weights and the scales of a small model of float32 on the CPU, after three steps."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(8, 8, dtype=torch.float32, device="cpu") for _ in range(2)))
    delayed = ag.Quantizer(ag.load_format("e4m3"), scaling=ag.Scaling("delayed"))
    stochastic = ag.Quantizer(ag.load_format("e5m2"), rounding="stochastic")
    plan = ag.quantize_model(model, [ag.Rule("*", weight=stochastic, activation=delayed, gradient=delayed)])
    optimizer = ag.build_optimizer("manifold-adamw", plan.params(), lr=0.1)
    batch = torch.linspace(-1, 1, 16, dtype=torch.float32, device="cpu").view(2, 8)
    for _ in range(3):
        model(batch).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        plan.step()
    scales = [operand.scale for operand in plan.operands()]
    quantized = ag.quantize(batch, ag.Quantizer(ag.load_format("e4m3"), scaling=ag.Scaling("none")))
    return [*(p.detach() for p in model.parameters()), *scales, quantized.values, quantized.scale]


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64, torch.device("meta")], ids=str)
def test_the_defaults_of_torch_change_nothing(default: torch.dtype | torch.device) -> None:
    plain = _trained_briefly()
    if isinstance(default, torch.device):
        with default:
            found = _trained_briefly()
    else:
        torch.set_default_dtype(default)
        try:
            found = _trained_briefly()
        finally:
            torch.set_default_dtype(torch.float32)
    assert [value.dtype for value in found] == [value.dtype for value in plain] == [torch.float32] * len(plain)
    assert all(torch.equal(a, b) for a, b in zip(found, plain, strict=True))


E4M3 = ag.load_format("e4m3")
MISTAKES = {
    "a table for a rule": (lambda: ag.quantize_model(nn.Linear(2, 2), [{"layers": "*"}]), "and a dict is none"),
    "a rule alone": (lambda: ag.quantize_model(nn.Linear(2, 2), ag.Rule("*", weight="e4m3")), "and a Rule is no list"),
    "no model": (lambda: ag.quantize_model(None, []), "model is a NoneType; expected a torch.nn.Module"),
    "a number for a role": (
        lambda: ag.quantize_model(nn.Sequential(nn.Linear(2, 2)), [ag.Rule("*", weight=8)]),
        "weight is a int; expected a Quantizer, a format, or the name of one",
    ),
    "a number for a format": (lambda: ag.Quantizer(8), "format is a int; expected a format or the name of one"),
    "a number for a scaling": (lambda: ag.Quantizer("e4m3", scaling=1), "scaling is a int; expected a Scaling or"),
    "half a step of history": (
        lambda: ag.Scaling("delayed", history=1.5),
        "history is 1.5; expected a whole number of steps",
    ),
    "a history in words": (
        lambda: ag.Scaling("delayed", history="a"),
        "history is 'a'; expected a whole number of steps",
    ),
    "half a power of margin": (
        lambda: ag.Scaling(margin=0.5),
        "margin is 0.5; expected a whole number from -126 to 126",
    ),
    "a margin beyond float32": (lambda: ag.Scaling(margin=10**6), "margin is 1000000; expected a whole number from"),
    "a key of two numbers": (
        lambda: ag.quantize(torch.ones(2), ag.Quantizer(E4M3, "stochastic"), key=(1, 2)),
        r"key is \(1, 2\); expected a whole number of 64 bits",
    ),
    "no name of a format": (lambda: ag.load_format(""), "load_format: give a name, or exponent_bits and mantissa_bits"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_with_what_was_expected(mistake: str) -> None:
    call, said = MISTAKES[mistake]
    with pytest.raises(ag.AltgradError, match=said):
        call()


def test_a_rule_takes_a_format_in_place_of_a_quantizer() -> None:
    plan = ag.quantize_model(nn.Sequential(nn.Linear(2, 2)), [ag.Rule("*", weight=E4M3)])
    assert [operand.quantizer for operand in plan.operands()] == [ag.Quantizer(E4M3)]


def test_a_layout_that_there_is_not_is_refused(tmp_path: Path) -> None:
    plan = ag.quantize_model(nn.Sequential(nn.Linear(2, 2)), [ag.Rule("*", weight="e4m3")])
    with pytest.raises(ag.RunError, match='layout is "hf"; expected altgrad or huggingface'):
        plan.export(tmp_path / "model", layout="hf")
    assert not list(tmp_path.iterdir())


def test_a_step_that_the_attached_optimizer_says_is_not_said_again() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    plan = ag.quantize_model(model, [ag.Rule("*", weight="e4m3")])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    plan.attach(optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with pytest.raises(ag.RunError, match="an attached optimizer says itself when a step is over"):
        plan.step()
    plan.step(is_skipped=True)  # of a loss scaler, say, which left the optimizer's step out
    assert plan.moment.step == 2
    copy.deepcopy(plan).step()  # hooks stay with the original
