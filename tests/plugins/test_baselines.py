"""The baselines that know nothing of grids, against torch and the formulas of the papers; and what all baselines share."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from altgrad_baselines import LAMB, SGD, AdamW, AdamWKahan, AdamWRelative, AdamWStochastic, LNSMadam, Madam
from altgrad_baselines.lamb import LAMB as Layerwise
from pydantic import ValidationError
from torch import Tensor, nn

from altgrad_core import OptimizerSpec, Quantizer, Rule, build_optimizer, load_format, quantize_model
from altgrad_core.testing import check_optimizer
from altgrad_core.testing.tiny import bits, tiny_run, train

ALL = (AdamW, SGD, LAMB, AdamWRelative, AdamWStochastic, AdamWKahan, Madam, LNSMadam)


def matrices_and_vectors(model: nn.Module) -> list[dict[str, Any]]:
    """Groups as the run makes them."""
    return [
        {"params": [p for p in model.parameters() if p.dim() >= 2]},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]


def step_side_by_side(ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer, *, steps: int = 5) -> None:
    """Steps of both by the same random gradients, at a rate that falls."""
    mine, other = ([p for group in o.param_groups for p in group["params"]] for o in (ours, theirs))
    for step in range(steps):
        for group in [*ours.param_groups, *theirs.param_groups]:
            group["lr"] = group.setdefault("first_lr", group["lr"]) / (step + 1)
        for one, two in zip(mine, other, strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        ours.step()
        theirs.step()


def test_adamw_is_torchs_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    twin = copy.deepcopy(model)
    plan = quantize_model(model, [Rule("*", weight=Quantizer(load_format("e4m3")))])
    ours = build_optimizer("adamw", plan.params(), lr=0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1)
    theirs = torch.optim.AdamW(matrices_and_vectors(twin), lr=0.01, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)
    step_side_by_side(ours, theirs)
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize("shape", [(3, 5), (300, 300)], ids=["small", "large"])
@pytest.mark.parametrize("rate", [0.01, torch.tensor(0.01)], ids=["number", "tensor"])
def test_adamw_is_torchs_whatever_its_parameters_and_says_nothing_of_how(shape: tuple[int, int], rate: Any) -> None:
    from altgrad_baselines.torch_steps import AdamW as OurAdamW

    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(shape)), nn.Parameter(torch.randn(7)), nn.Parameter(torch.randn(()))]
    ours, theirs = OurAdamW(parameters, lr=rate), torch.optim.AdamW(copy.deepcopy(parameters), lr=rate)
    step_side_by_side(ours, theirs, steps=20)
    for mine, other in zip(parameters, theirs.param_groups[0]["params"], strict=True):
        assert torch.equal(mine, other)
    assert str(ours.state_dict()) == str(theirs.state_dict())


def test_its_defaults_are_torchs() -> None:
    theirs = torch.optim.AdamW([nn.Parameter(torch.zeros(1))]).defaults
    ours = AdamW()
    expected = (theirs["lr"], *theirs["betas"], theirs["eps"], theirs["weight_decay"])
    assert (ours.lr, ours.beta1, ours.beta2, ours.eps, ours.weight_decay) == expected


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.0}, {"nesterov": True, "momentum": 0.8}, {"weight_decay": 0.1}], ids=str
)
def test_sgd_is_torchs_bit_for_bit(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    twin = copy.deepcopy(model)
    plan = quantize_model(model, [Rule("*", weight=Quantizer(load_format("e4m3")))])
    ours = build_optimizer("sgd", plan.params(), lr=0.03, **options)
    theirs = torch.optim.SGD(matrices_and_vectors(twin), lr=0.03, **{"momentum": 0.9, **options})
    step_side_by_side(ours, theirs)
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (SGD, {"nesterov": True, "momentum": 0.0}, "Value error, nesterov = true needs a momentum above 0"),
        (LAMB, {"min_ratio": 20.0}, "Value error, min_ratio = 20 is above max_ratio = 10"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    spec: type[OptimizerSpec], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(**options)
    assert [error["msg"] for error in caught.value.errors()] == [message]


# ---- LAMB ----


def lamb_by_hand(weights: list[float], gradients: list[list[float]], *, lr: float, ratios: tuple[float, float]) -> Any:
    """LAMB with weight decay 0.1 and eps 1e-6 on one tensor, in Python floats; the last ratio too."""
    m, v, ratio = [0.0] * len(weights), [0.0] * len(weights), 0.0
    for t, gradient in enumerate(gradients, start=1):
        m = [0.9 * a + 0.1 * g for a, g in zip(m, gradient, strict=True)]
        v = [0.999 * a + 0.001 * g * g for a, g in zip(v, gradient, strict=True)]
        r = [a / (1 - 0.9**t) / (math.sqrt(b / (1 - 0.999**t)) + 1e-6) for a, b in zip(m, v, strict=True)]
        r = [a + 0.1 * w for a, w in zip(r, weights, strict=True)]
        ratio = min(max(math.hypot(*weights) / math.hypot(*r), ratios[0]), ratios[1])
        weights = [w - lr * ratio * a for w, a in zip(weights, r, strict=True)]
    return weights, ratio


@pytest.mark.parametrize(
    ("ratios", "last"), [((0.0, 10.0), None), ((2.0, 10.0), 2.0), ((0.0, 0.01), 0.01)], ids=["free", "least", "most"]
)
def test_lamb_is_its_formula(ratios: tuple[float, float], last: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(3, 5, generator=generator) * 0.3)
    gradients = [torch.randn(3, 5, generator=generator) for _ in range(4)]
    start = parameter.flatten().tolist()
    optimizer = Layerwise([parameter], lr=0.05, weight_decay=0.1, ratios=ratios)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    expected, ratio = lamb_by_hand(start, [g.flatten().tolist() for g in gradients], lr=0.05, ratios=ratios)
    assert parameter.flatten().tolist() == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert ratio == last if last is not None else ratios[0] < ratio < ratios[1]


def test_lamb_with_a_ratio_of_1_is_adamw() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8))
    twin = copy.deepcopy(model)
    plan = quantize_model(model, [Rule("*", weight=Quantizer(load_format("e4m3")))])
    ours = build_optimizer("lamb", plan.params(), eps=1e-8, weight_decay=0.1, min_ratio=1.0, max_ratio=1.0)
    step_side_by_side(ours, torch.optim.AdamW(matrices_and_vectors(twin), lr=0.01, weight_decay=0.1))
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_a_step_of_lamb_has_the_norm_of_the_weights_times_the_rate() -> None:
    torch.manual_seed(0)
    for size in (1e-25, 1e-3, 1.0, 1e3, 1e25):
        parameter = nn.Parameter(torch.randn(8, 8) * size)
        before = parameter.detach().clone()
        parameter.grad = torch.randn(8, 8)
        Layerwise([parameter], lr=0.02, weight_decay=0.0, ratios=(0.0, 1e30)).step()
        assert ((parameter - before).double().norm() / before.double().norm()).item() == pytest.approx(0.02, rel=1e-4)


@pytest.mark.parametrize("shape", [(4,), (2, 2)], ids=["a vector", "a matrix of zeros"])
def test_the_ratio_of_lamb_is_1_for(shape: tuple[int, ...]) -> None:
    start = torch.full(shape, 5.0 if len(shape) == 1 else 0.0)
    parameter = nn.Parameter(start.clone())
    parameter.grad = torch.ones(shape)
    Layerwise([parameter], lr=0.01, weight_decay=0.0).step()
    torch.testing.assert_close(parameter.detach(), start - 0.01)


# ---- AdamW at relative rates ----


@pytest.mark.parametrize("reference", ["current", "initial"])
def test_a_relative_rate_is_adamws_rate_times_the_root_mean_square_of_each_matrix(reference: Any) -> None:
    ours, theirs = nn.Parameter(torch.tensor([[3.0, -4.0]])), nn.Parameter(torch.tensor([[3.0, -4.0]]))
    relative = AdamWRelative(lr=0.02, weight_decay=0.1, reference=reference).build([{"params": [ours]}], {})
    plain = torch.optim.AdamW([theirs])
    rms = math.sqrt((3**2 + 4**2) / 2)
    for gradient in ([1.0, 2.0], [-3.0, 0.5], [0.1, 0.1]):
        if reference == "current":
            rms = math.sqrt((ours[0, 0].item() ** 2 + ours[0, 1].item() ** 2) / 2)
        plain.param_groups[0].update(lr=0.02 * rms, weight_decay=0.1 / rms)  # decay is not relative
        for parameter, optimizer in ((ours, relative), (theirs, plain)):
            parameter.grad = torch.tensor([gradient])
            optimizer.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_a_matrix_of_zeros_moves_at_the_smallest_relative_rate() -> None:
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.ones(2, 2)
    AdamWRelative(lr=0.5, min_rms=0.25).build([{"params": [parameter]}], {}).step()
    assert parameter.flatten().tolist() == pytest.approx([-0.125] * 4)


# ---- what all share ----


@pytest.mark.parametrize(
    "spec",
    [
        SGD(nesterov=True, weight_decay=1e-4),
        LAMB(min_ratio=0.01, max_ratio=1e6),
        AdamWKahan(compensation="float32"),
        LNSMadam(base_factor=64, bits=8),
        AdamWRelative(reference="initial"),
    ],
    ids=lambda spec: spec.name,
)
def test_it_keeps_the_laws_in_its_other_modes(spec: OptimizerSpec) -> None:
    check_optimizer(spec)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_e0m7_and_e1m6_give_one_run_under_amax(spec: type[OptimizerSpec]) -> None:
    runs = [tiny_run(optimizer=spec(), format=load_format(name)) for name in ("e0m7", "e1m6")]  # type: ignore[call-arg]
    losses = [[record["loss"] for record in train(run).of("step")] for run in runs]
    assert losses[0] == losses[1]
    one, other = (run.model.state_dict() for run in runs)
    assert {name: bits(tensor) for name, tensor in one.items()} == {
        name: bits(tensor) for name, tensor in other.items()
    }


@pytest.mark.parametrize(
    "spec", (LAMB, AdamWRelative, AdamWStochastic, AdamWKahan, Madam, LNSMadam), ids=lambda spec: spec.name
)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_weight_whose_gradient_is_not_finite_stays_for_this_step_and_is_counted(
    spec: type[OptimizerSpec], bad: float
) -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    plan = quantize_model(model, [Rule("0", weight=Quantizer(load_format("e3m4")))])
    optimizer, weight = build_optimizer(spec.name, plan.params(), lr=0.25), model[0].weight
    moments = []
    for gradient in (1.0, bad, 1.0):
        before = weight.flatten().tolist()
        weight.grad = torch.tensor([[1.0, 1.0], [1.0, gradient]])
        optimizer.step()
        assert weight[0, 0].item() != before[0]
        assert (weight[1, 1].item() == before[3]) == (gradient is bad)
        moments.append(optimizer.state[weight]["exp_avg_sq"][1, 1].item())
    assert weight.isfinite().all()
    assert moments[1] == moments[0] < moments[2]
    assert optimizer.state[weight]["broken"].item() == 1


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned(spec: type[OptimizerSpec]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    root = nn.Sequential(model)
    plan = quantize_model(root, [Rule("0", weight=Quantizer(load_format("e3m4")))])
    optimizer = build_optimizer(spec.name, plan.params())
    before = model.bias.detach().clone()
    losses: list[Tensor] = []

    def closure() -> float:
        optimizer.zero_grad()
        losses.append(root(torch.eye(4)).square().sum())
        losses[-1].backward()
        return losses[-1].item()

    assert optimizer.step(closure) == losses[0].item()
    assert len(losses) == 1
    assert not torch.equal(model.bias, before)


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_without_a_quantized_layer_a_vector_takes_the_step_of_its_own_rate(spec: type[OptimizerSpec]) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].bias.zero_()
    optimizer = build_optimizer(spec.name, quantize_model(model, []).params())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    rate = {"sgd": 0.1, "lamb": 0.01}.get(spec.name, 1e-3)
    assert model[0].bias.tolist() == pytest.approx([-rate, -rate], rel=1e-4)
