"""Models as people build them: weights with state, shared or without elements; and what is refused leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import altgrad_core as ag

E4M3 = ag.Quantizer("e4m3")
WEIGHTS = [ag.Rule("*", weight=E4M3)]
X = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


def spectral() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Tanh(), nn.Linear(8, 4))


def counted_iterations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every power iteration of `spectral_norm`."""
    found: list[int] = []
    kind = parametrizations._SpectralNorm
    iterate = kind._power_method
    monkeypatch.setattr(kind, "_power_method", lambda self, *args: found.append(1) or iterate(self, *args))
    return found


READS: dict[str, Callable[[nn.Module, ag.Plan, Path], Any]] = {
    "coverage": lambda model, plan, folder: plan.coverage(),
    "coverage of a pass": lambda model, plan, folder: plan.coverage(X),
    "params": lambda model, plan, folder: plan.params(),
    "weight": lambda model, plan, folder: plan.weight("0"),
    "geometry": lambda model, plan, folder: plan.geometry(),
    "state": lambda model, plan, folder: plan.state_dict(),
    "export": lambda model, plan, folder: plan.export(folder / "model.safetensors"),
    "attach": lambda model, plan, folder: plan.attach(torch.optim.SGD(model.parameters(), lr=0.1)),
    "watch": lambda model, plan, folder: ag.watch(
        model, torch.optim.SGD(model.parameters(), lr=0.1), monitors=["stable-rank"], out=folder / "run"
    ).close(),
}


@pytest.mark.parametrize("read", READS)
def test_looking_at_a_weight_that_is_computed_takes_no_step_of_its_own(
    read: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spectral()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = counted_iterations(monkeypatch)
    plan = ag.quantize_model(model, WEIGHTS)
    READS[read](model, plan, tmp_path)
    assert found == [] or read == "coverage of a pass"  # which is undone
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


@pytest.mark.parametrize("watched", [False, True])
def test_training_takes_one_power_iteration_for_each_forward_pass(
    watched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = spectral()
    found = counted_iterations(monkeypatch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if watched:
        watch = ag.watch(model, optimizer, monitors=["stable-rank", "flips"], every=1, out=tmp_path / "run")
    else:
        ag.quantize_model(model, WEIGHTS).attach(optimizer)
    for _ in range(5):
        loss = model(X).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if watched:
            watch.step(loss)
    assert len(found) == 5


@pytest.mark.parametrize(
    "kind", [parametrizations.weight_norm, parametrizations.orthogonal, parametrizations.spectral_norm]
)
def test_a_parametrization_that_is_registered_afterwards_stays_when_the_plan_is_removed(
    kind: Callable[..., nn.Module],
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8))
    plan = ag.quantize_model(model, WEIGHTS)
    kind(model[0])
    assert plan.coverage(X).matrices == 1
    model.eval()
    expected = nn.functional.linear(X, model[0].weight, model[0].bias)
    assert not torch.equal(model(X), expected)
    plan.remove()
    assert torch.equal(model(X), expected)


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.b(self.a(x))
        return result


def test_a_weight_that_layers_share_is_baked_where_all_of_them_round_it_alike(recwarn: pytest.WarningsRecorder) -> None:
    model = Shared()
    plan = ag.quantize_model(model, WEIGHTS)
    expected = model.eval()(X)
    plan.remove(bake=True)
    assert torch.equal(model(X), expected) and not recwarn.list


@pytest.mark.parametrize("rules", [
    [ag.Rule("a", weight=E4M3)],
    [ag.Rule("*", weight=ag.Quantizer("e4m3", rounding="stochastic"))],
], ids=["one of them", "each by its own noise"])  # fmt: skip
def test_a_weight_that_they_round_differently_is_left_and_told_of(rules: list[ag.Rule]) -> None:
    model = Shared()
    before = model.a.weight.clone()
    plan = ag.quantize_model(model, rules)
    with pytest.warns(UserWarning, match="not baked, for others read or make these weights too: a"):
        plan.remove(bake=True)
    assert torch.equal(model.a.weight, before)


def test_a_plan_that_was_removed_covers_nothing() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    plan = ag.quantize_model(model, WEIGHTS)
    plan.remove()
    assert (plan.coverage(X).multiply_adds, plan.coverage().matrices, list(plan.operands())) == (0, 0, [])


REFUSED: dict[str, tuple[Callable[[], nn.Module], list[ag.Rule], str]] = {
    "complex": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4, dtype=torch.complex64)),
        WEIGHTS, "the weight of 1 cannot be quantized: .*complex64",
    ),
    "float8": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4).requires_grad_(False).to(torch.float8_e4m3fn)),
        WEIGHTS, "the weight of 1 cannot be quantized: .*float8_e4m3fn",
    ),
    "hadamard": (
        lambda: nn.Sequential(nn.Linear(16, 12), nn.Linear(12, 4)),
        [ag.Rule("*", weight=ag.Quantizer("e4m3", hadamard=8))], "the weight of 1 cannot be quantized: .*12",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_model_that_cannot_be_quantized_is_left_as_it_was(what: str) -> None:
    build, rules, said = REFUSED[what]
    model = build()
    kinds = [type(module) for module in model.modules()]
    with pytest.raises(ag.FormatError, match=said):
        ag.quantize_model(model, rules)
    assert [type(module) for module in model.modules()] == kinds
    ag.quantize_model(model, [ag.Rule("0", weight=E4M3)])


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("sizes", [(8, 0), (0, 8)])
@pytest.mark.parametrize("optimizer", ["adamw", "manifold-adamw", "grid", "lns-madam", "madam", "lamb"])
def test_layers_without_elements_train_as_they_do_without_quantization(sizes: tuple[int, int], optimizer: str) -> None:
    model = nn.Sequential(nn.Linear(*sizes), nn.Linear(sizes[1], 3))
    rule = ag.Rule("*", weight=E4M3, activation=ag.Quantizer("e4m3", scaling="delayed"), gradient=ag.Quantizer("e5m2"))
    plan = ag.quantize_model(model, [rule])
    steps = ag.build_optimizer(optimizer, plan.params(), lr=0.01)
    plan.attach(steps)
    for _ in range(2):
        model(torch.randn(2, sizes[0])).square().sum().backward()
        steps.step()
    assert model.eval()(torch.randn(2, sizes[0])).isfinite().all()


def test_a_switch_that_can_mean_nothing_is_refused() -> None:
    plan = ag.quantize_model(nn.Sequential(nn.Linear(8, 4)), WEIGHTS)
    wrong: list[tuple[tuple[Any, ...], str]] = [
        (("zz", "weight", "e5m2"), 'switch: no layer matches "zz"; the layers are: 0'),
        (("*", "wieght", "e5m2"), 'switch: there is no role "wieght"; the roles are: weight, activation, '),
        (("*", "weight", ag.Quantizer("e5m2")), "switch: to is a Quantizer; expected the name of a format"),
    ]
    for args, said in wrong:
        with pytest.raises(ag.ManifestError) as caught:
            plan.switch(*args)
        assert str(caught.value).startswith(said)
    assert [switch.after for switch in plan.switch("*", "weight", "e5m2")] == ["e5m2"]


def watched(folder: Path) -> ag.Watch:
    model = nn.Linear(8, 4)
    return ag.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), out=folder / "run")


def plan() -> ag.Plan:
    return ag.quantize_model(nn.Sequential(nn.Linear(8, 4)), WEIGHTS)


def mse(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs - targets).square().mean()


MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a list of layers": (lambda _: ag.quantize_model(nn.Linear(8, 4), [ag.Rule(["0", "2"], weight=E4M3)]),  # type: ignore[arg-type]
        r"layers of a rule is \['0', '2'\]; expected a pattern"),
    "a seed": (lambda _: ag.quantize_model(nn.Linear(8, 4), WEIGHTS, seed=-1), "seed is -1; expected a whole number"),
    "a class": (lambda _: ag.build_optimizer(torch.optim.SGD, plan().params()),  # type: ignore[arg-type]
        'name is <class .*; expected the name of an optimizer, as "adamw"'),
    "a dotted path": (lambda _: ag.build_optimizer("torch.optim.SGD", plan().params(), lr=0.1), 'write its import path as "torch.optim:SGD"'),
    "one group": (lambda _: ag.build_optimizer("adamw", plan().params(), groups={"layers": "*"}),  # type: ignore[arg-type]
        "groups is .*; expected a list of tables"),
    "the state of nothing": (lambda _: plan().load_state_dict({}), "this is no state of a plan"),
    "the state of a model": (lambda _: plan().load_state_dict(nn.Linear(8, 4).state_dict()), "this is no state of a plan"),
    "no watch's state": (lambda folder: watched(folder).load_state_dict({}), "this is no state of a watch, told is missing"),
    "rules without a name": (lambda _: ag.evaluate(nn.Linear(8, 4), WEIGHTS, [(X, X)], task=mse), "recipes is a list; expected rules by name"),  # type: ignore[arg-type]
    "the name of a loss": (lambda _: ag.evaluate(nn.Linear(8, 4), {"a": WEIGHTS}, [(X, X)], task="mse"), "task is 'mse'; expected a task"),  # type: ignore[arg-type]
    "one monitor": (lambda folder: ag.watch(nn.Linear(8, 4), torch.optim.SGD([X.clone()]), monitors="flips", out=folder / "run"),
        "monitors: expected a list, as .*'flips' is none"),
    "steps": (lambda folder: ag.watch(nn.Linear(8, 4), torch.optim.SGD([X.clone()]), steps=-1, out=folder / "run"), "steps is -1; expected the number"),
    "no loss": (lambda folder: watched(folder).step(None), "watch.step: the loss is None; expected one number"),  # type: ignore[arg-type]
    "a vector": (lambda folder: watched(folder).step(torch.ones(3)), r"watch.step: the loss has shape \(3,\); expected one number"),
    "a loss that is no function": (lambda folder: watched(folder).twin(torch.ones(())), "watch.twin: got a Tensor; expected a function"),  # type: ignore[arg-type]
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_in_a_script_is_answered_with_what_was_expected(what: str, tmp_path: Path) -> None:
    call, said = MISTAKES[what]
    with pytest.raises(ag.AltgradError, match=said):
        call(tmp_path)


def test_copying_keeps_a_later_parametrization() -> None:
    model = nn.Sequential(nn.Linear(8, 8))
    plan = ag.quantize_model(model, WEIGHTS)
    parametrizations.weight_norm(model[0])
    other = copy.deepcopy(model)
    assert torch.equal(other(X), model(X))
    rounded = other(X)
    plan.remove()
    assert torch.equal(other(X), rounded) and not torch.equal(model(X), rounded)


def test_whole_numbers_of_other_libraries_are_whole_numbers(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 4))
    ag.quantize_model(model, WEIGHTS, seed=np.int64(3))  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ag.watch(model, optimizer, steps=np.int32(5), out=tmp_path / "run").close()  # type: ignore[arg-type]
