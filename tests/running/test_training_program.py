"""Programs that train: the losses, weights, scales, histories and counts of the model, also in another process."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag
from altgrad_core.numerics.library_training import Memory
from altgrad_core.running.model.program_params import STATE
from tests.running.test_program import HOWS, Several

STEPS, MICRO_BATCHES = 3, 2
X = torch.ones(2, 4, 5)
CLIPPED = ag.Quantizer("e4m3", "stochastic", "delayed", straight_through="clipped")
ROWS = ag.Quantizer("e4m3", scaling=ag.Scaling("amax", granularity="row"))
TRAINER = """
import sys, torch
import altgrad_core as ag
from tests.running.test_training_program import trained
for path in sys.argv[1:]:
    module = ag.load_program(path + ".pt2").module()
    losses = trained(module, lambda: ag.step_program(module))
    torch.save((losses, module.state_dict()), path + ".result")
"""


def trained(model: nn.Module, end_step: Any, optimizer: torch.optim.Optimizer | None = None) -> list[Tensor]:
    """The loss of every micro-batch."""
    generator, losses = torch.Generator().manual_seed(1), []
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(STEPS):
        for _ in range(MICRO_BATCHES):
            loss = model(10.0**-step * torch.randn(2, 4, 5, generator=generator)).square().mean()
            loss.backward()
            losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
        end_step()
    return losses


def quantized(how: ag.Quantizer, of_gradient: ag.Quantizer) -> ag.Plan:
    """A model after one step, so that its histories have begun."""
    torch.manual_seed(0)
    model = Several()
    rules = [
        ag.Rule("*", weight=how, activation=how, gradient=of_gradient),
        ag.Rule("attention", query=how, key=how, score_gradient=of_gradient),
    ]
    plan = ag.quantize_model(model, rules, seed=5)
    model(torch.randn(2, 4, 5)).square().mean().backward()
    model.zero_grad()
    plan.step()
    return plan


CASES = {
    "delayed, stochastic, clipped": (CLIPPED, ag.Quantizer("e5m2", "stochastic", "delayed")),
    "rows": (ROWS, ag.Quantizer("e5m2", scaling="amax")),
    "a format of no plugin": (HOWS["a format of no plugin"], ag.Quantizer("e5m2")),
}


def check_same(plan: ag.Plan, state: dict[str, Tensor]) -> None:
    """Weights, and all that operands remember."""
    for name, weight in plan.model.named_parameters():
        assert torch.equal(state[f"model.{name}"], weight)
    for operand in plan.operands():
        name, saved = f"{operand.path}.{operand.role}".replace(".", "__"), operand.state_dict()
        own = Memory(*(state.get(f"{STATE}.{name}.{field}") for field in Memory._fields))  # type: ignore[arg-type]
        assert own.history[own.history > 0].tolist() == saved["history"]
        assert own.counts[:5].tolist() == saved["tally"][1:]
        if operand.scale.ndim == 0:
            assert torch.equal(own.scale, operand.scale) and float(own.amax[0]) == saved["amax"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("is_fixed", [False, True])
def test_a_program_trains_as_the_model_does(case: str, is_fixed: bool) -> None:
    plan = quantized(*CASES[case])
    for operand in plan.operands():
        if operand.role == "weight" and is_fixed:
            operand.fix_scale()
    before, other = copy.deepcopy(plan.state_dict()), copy.deepcopy(plan)
    module = ag.training_program(plan, X).module()
    assert plan.state_dict() == before
    assert trained(module, lambda: ag.step_program(module)) == trained(other.model, other.step)
    check_same(other, module.state_dict())


@pytest.mark.parametrize("name", ["manifold-adamw", "adamw-stochastic"])
def test_an_optimizer_steps_along_the_grids_of_a_program(name: str) -> None:
    plan = quantized(*CASES["rows"])
    other = copy.deepcopy(plan)
    if name == "adamw-stochastic":
        ag.build_optimizer(name, plan.params())  # fixes the scales
    module = ag.training_program(plan, X).module()
    mine, its = ag.build_optimizer(name, plan.params(module)), ag.build_optimizer(name, other.params())
    losses = trained(module, lambda: ag.step_program(module), mine)
    assert losses == trained(other.model, other.step, its)
    check_same(other, module.state_dict())


def test_parameters_of_no_program_and_scales_that_it_does_not_fix_are_refused() -> None:
    plan, linear = quantized(*CASES["rows"]), nn.Sequential(nn.Linear(4, 4))
    module = ag.training_program(plan, X).module()
    with pytest.raises(ag.RunError, match="expected the module of a program that training_program made"):
        plan.params(plan.model)
    with pytest.raises(ag.RunError, match=r"params: the program has no 0\.weight as this plan; it is of another model"):
        ag.quantize_model(linear, [ag.Rule("*", weight=ROWS)]).params(module)
    with pytest.raises(ag.RunError, match=r"make the optimizer of plan\.params\(\) first, and then the program"):
        ag.build_optimizer("adamw-kahan", plan.params(module))


@pytest.mark.slow
def test_a_program_trains_in_another_process_as_the_model_does_here(tmp_path: Path) -> None:
    paths = [str(tmp_path / str(number)) for number in range(len(CASES))]
    plans = [quantized(*hows) for hows in CASES.values()]
    for plan, path in zip(plans, paths, strict=True):
        torch.export.save(ag.training_program(plan, X), f"{path}.pt2")
    done = subprocess.run([sys.executable, "-c", TRAINER, *paths], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    for plan, path in zip(plans, paths, strict=True):
        losses, state = torch.load(f"{path}.result")
        assert losses == trained(plan.model, plan.step)
        check_same(plan, state)


def test_a_model_in_evaluation_and_a_module_of_no_program_are_refused() -> None:
    plan = quantized(*CASES["rows"])
    plan.model.eval()
    with pytest.raises(ag.RunError, match=r"the model is in evaluation; call model\.train\(\) first"):
        ag.training_program(plan, X)
    with pytest.raises(ag.RunError, match=re.escape("expected the module of a program that training_program made")):
        ag.step_program(plan.model)


def test_torchs_own_checks_pass() -> None:
    plan = quantized(*CASES["delayed, stochastic, clipped"])
    calls = {node.target: node for node in ag.training_program(plan, X).graph.nodes}
    x, text = (
        torch.randn(4, 8),
        next(a for a in calls[torch.ops.altgrad.round_operand_at.default].args if isinstance(a, str)),
    )
    memory = torch.zeros(4), torch.ones(()), torch.zeros(2), torch.zeros(7, dtype=torch.int64), torch.tensor(3)
    seen = torch.tensor(0.5), torch.tensor(2.0), torch.tensor([1, 2, 3, 4])
    tests = ("test_schema", "test_faketensor")
    own = torch.ops.altgrad
    for operation, inputs in (
        (own.round_operand_at, (x.requires_grad_(), text, *memory)),
        (own.remember, (*seen, 32, text, *memory)),
        (own.operand_gradient, (x, text, *memory)),
        (own.operand_linear, (x, torch.randn(3, 8), torch.randn(3), text, *memory)),
        (own.advance, (torch.ones(4), torch.ones(2))),
    ):
        torch.library.opcheck(operation.default, inputs, test_utils=tests)
