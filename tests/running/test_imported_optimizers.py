"""Optimizers by import path: what they are given, what they do, and that a run with them can be resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import altgrad_core as ag

if TYPE_CHECKING:
    from tests.running.conftest import Runs

CLASSES: dict[str, dict[str, Any]] = {
    "Adadelta": {"rho": 0.8},
    "Adafactor": {"eps": (1e-30, 1e-3)},
    "Adagrad": {"lr_decay": 0.1, "initial_accumulator_value": 0.1},
    "Adam": {"amsgrad": True},
    "Adamax": {"betas": (0.8, 0.9)},
    "ASGD": {"t0": 2.0},
    "NAdam": {"momentum_decay": 0.01, "decoupled_weight_decay": True},
    "RAdam": {"betas": (0.9, 0.5)},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Rprop": {"step_sizes": (1e-5, 1.0)},
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
}
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
WITHOUT_DECAY = {"Rprop"}


def model(*, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))


def quantized(of: nn.Module) -> ag.Plan:
    return ag.quantize_model(of, [ag.Rule("0", weight=ag.Quantizer("e4m3"), gradient=ag.Quantizer("e5m2"))])


def trained(of: nn.Module, plan: ag.Plan, optimizer: torch.optim.Optimizer) -> list[bytes]:
    torch.manual_seed(1)
    x = torch.randn(32, 8)
    for _ in range(5):
        optimizer.zero_grad()
        (of(x) - x.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
        plan.step()
    return [bytes(p.detach().numpy().tobytes()) for p in of.parameters()]


@pytest.mark.parametrize("name", CLASSES)
def test_an_optimizer_by_path_is_the_class_itself_with_no_decay_of_vectors(name: str) -> None:
    ours, theirs = model(), model()
    plan, by_hand = quantized(ours), quantized(theirs)
    options = {"lr": 0.02, **CLASSES[name]}
    optimizer = ag.build_optimizer(f"torch.optim:{name}", plan.params(), **options)
    cls = getattr(torch.optim, name)
    vectors = {"params": [theirs[0].bias, theirs[2].bias], **({} if name in WITHOUT_DECAY else {"weight_decay": 0.0})}
    hand_made = cls([{"params": [theirs[0].weight, theirs[2].weight]}, vectors], **options)
    assert type(optimizer) is cls
    assert [{*group} for group in optimizer.param_groups] == [{*g, "initial_lr"} for g in hand_made.param_groups]
    assert trained(ours, plan, optimizer) == trained(theirs, by_hand, hand_made)


@pytest.mark.parametrize("name", [*CLASSES, pytest.param("Muon", marks=needs_muon)])
def test_a_run_with_it_interrupted_and_resumed_is_the_same_run(name: str, runs: Runs) -> None:
    options = "".join(f", {key} = {_toml(value)}" for key, value in CLASSES.get(name, {}).items())
    vectors = ', group = [{ layers = "*", only = "vectors", use = "adamw" }]' if name == "Muon" else ""
    common = 'schedule = { kind = "cosine", warmup = 3 }'
    setting = f'optimizer={{ use = "torch.optim:{name}", lr = 0.01, {common}{options}{vectors} }}'
    runs.begin("whole", setting)
    runs.begin("steps", setting, at=4)
    assert runs.resume("steps", at=9).status == "interrupted"
    assert runs.resume("steps").status == "finished"
    assert runs.result("steps") == runs.result("whole")


def _toml(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value).lower()


@needs_muon
def test_matrices_alone_are_trained_by_one_that_refuses_vectors() -> None:
    ours = model()
    plan = quantized(ours)
    vectors = {"layers": "*", "only": "vectors", "use": "torch.optim:AdamW"}
    optimizer = ag.build_optimizer("torch.optim:Muon", plan.params(), lr=0.02, groups=[vectors])
    assert [(type(member).__name__, len(member.param_groups[0]["params"])) for member in optimizer.members] == [
        ("Muon", 2),
        ("AdamW", 2),
    ]
    before = [p.detach().clone() for p in ours.parameters()]
    trained(ours, plan, optimizer)
    assert not any(torch.equal(was, now) for was, now in zip(before, ours.parameters(), strict=True))


def refusal(error: type[Exception], make: Callable[[], object]) -> str:
    with pytest.raises(error) as caught:
        make()
    return str(caught.value)


def test_options_are_refused_in_a_script_as_in_a_manifest() -> None:
    params = quantized(model()).params()
    said = refusal(ag.PluginError, lambda: ag.build_optimizer("torch.optim:NAdam", params, lr=-1.0))
    assert said == "lr: torch.optim:NAdam cannot be made: ValueError: Invalid learning rate: -1.0"
    said = refusal(ag.PluginError, lambda: ag.build_optimizer("torch.optim:SparseAdam", params))
    assert said == (
        "torch.optim:SparseAdam cannot take a step on dense gradients without a closure: RuntimeError: SparseAdam does not "
        "support dense gradients, please consider Adam instead"
    )
    said = refusal(ag.ManifestError, lambda: ag.build_optimizer("torch.optim:Muon", params))
    assert said.startswith(
        "torch.optim:Muon, given vectors to train, cannot be made: ValueError: Muon only supports 2D"
    )
    assert "lrr" in refusal(ValidationError, lambda: ag.build_optimizer("torch.optim:NAdam", params, lrr=1.0))


@needs_muon
def test_a_class_that_needs_matrices_is_refused_for_a_convolution() -> None:
    of = nn.Sequential(nn.Conv1d(2, 2, 3, bias=False), nn.Linear(2, 2, bias=False))
    plan = ag.quantize_model(of, [ag.Rule("1", weight=ag.Quantizer("e4m3"))])
    assert refusal(ag.ManifestError, lambda: ag.build_optimizer("torch.optim:Muon", plan.params())) == (
        "torch.optim:Muon, given parameters of 3 dimensions, cannot be made: ValueError: Muon only supports 2D parameters "
        "whereas we found a parameter with size: torch.Size([2, 2, 3]); give their layers another optimizer: [[optimizer.group]]"
    )


def test_trying_it_out_disturbs_no_generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "drawing.py").write_text(
        "import torch\nclass Draws(torch.optim.SGD):\n    def step(self, closure=None):\n        torch.rand(3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    params = quantized(model()).params()
    before = torch.get_rng_state()
    ag.build_optimizer("drawing:Draws", params, lr=0.1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_constructor_that_takes_anything_is_given_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "anything.py").write_text(
        "import torch\nclass Any(torch.optim.SGD):\n    def __init__(self, params, **options):\n        super().__init__(params, **options)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    optimizer = ag.build_optimizer("anything:Any", quantized(model()).params(), lr=0.1, momentum=0.5, weight_decay=0.2)
    assert [(g["lr"], g["momentum"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (0.1, 0.5, 0.2),
        (0.1, 0.5, 0.0),
    ]
