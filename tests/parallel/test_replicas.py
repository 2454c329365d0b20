"""A training script of one's own under DistributedDataParallel: replicas stay the same, and what they see is put together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, json, sys
import torch
import altgrad_core as ag
from torch.nn.parallel import DistributedDataParallel

rank, meeting, optimizers = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
torch.set_num_threads(1)
told = {}
for name in optimizers:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4))
    delayed = ag.Quantizer("e4m3", scaling="delayed")
    noisy = ag.Quantizer("e5m2", scaling="delayed", rounding="stochastic")
    plan = ag.quantize_model(model, [ag.Rule("*", weight="e4m3", activation=delayed, gradient=noisy)], seed=5)
    options = {"master": "none"} if name == "grid" else {}
    optimizer = ag.build_optimizer(name, plan.params(), **options)
    plan.attach(optimizer)
    replica = DistributedDataParallel(model)
    torch.manual_seed(100 + rank)  # every process draws data of its own
    for _ in range(8):
        loss = (replica(torch.randn(4, 8) * (1 + 3 * rank)) - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    weights = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    states = {f"{o.path} {o.role}": o.state_dict() for o in plan.operands()}
    keys = [o._key() for o in plan.operands() if o.role == "gradient"]
    drawn = torch.rand(()).item()
    told[name] = [hashlib.sha256(weights).hexdigest(), states, keys, drawn]
print(json.dumps(told))
torch.distributed.destroy_process_group()
"""
OPTIMIZERS = ("adamw-stochastic", "grid", "manifold-adamw")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[object]]]:
    """What each of two processes says of its replica, by optimizer."""
    import json

    folder = tmp_path_factory.mktemp("replicas")
    (folder / "script.py").write_text(SCRIPT)
    commands = [[sys.executable, folder / "script.py", str(rank), folder / "meeting", *OPTIMIZERS] for rank in range(2)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for command in commands
    ]
    said = [process.communicate(timeout=100) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said[0][1] + said[1][1]
    return [json.loads(out) for out, _ in said]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replicas_have_the_same_weights_scales_histories_and_counts(
    told: list[dict[str, list[object]]], name: str
) -> None:
    (weights, states, *_), (their_weights, their_states, *_) = (process[name] for process in told)
    assert weights == their_weights
    for operand, state in states.items():  # type: ignore[attr-defined]
        for fact in ("history", "tally") if "weight" not in operand else ("history", "tally", "scale"):
            assert state[fact] == their_states[operand][fact], (operand, fact)  # type: ignore[index]


def test_counts_are_those_of_both_processes(told: list[dict[str, list[object]]]) -> None:
    states: dict[str, dict[str, list[int]]] = told[0]["grid"][1]  # type: ignore[assignment]
    elements = {name: state["tally"][1] for name, state in states.items()}
    assert elements["0 activation"] == 2 * 4 * 8 and elements["2 gradient"] == 2 * 4 * 4
    assert elements["0 weight"] == 8 * 16


def test_noise_of_gradients_differs_between_processes_and_their_own_numbers_are_left_alone(
    told: list[dict[str, list[object]]],
) -> None:
    (_, _, keys, drawn), (_, _, their_keys, their_drawn) = (process["grid"] for process in told)
    assert not set(keys) & set(their_keys)  # type: ignore[call-overload]
    assert drawn != their_drawn


def test_an_optimizer_step_depends_on_seed_and_step_and_not_on_what_else_was_drawn(tmp_path: Path) -> None:
    import torch

    import altgrad_core as ag

    def trained(noise: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 8))
        plan = ag.quantize_model(model, [ag.Rule("*", weight="e4m3")], seed=5)
        optimizer = ag.build_optimizer("adamw-stochastic", plan.params(), lr=0.01)
        plan.attach(optimizer)
        for step in range(3):
            torch.manual_seed(noise + step)
            model(torch.ones(2, 8)).sum().backward()
            optimizer.step()
        return model[0].weight.detach()

    assert torch.equal(trained(1), trained(1000))
