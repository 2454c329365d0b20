"""Groups of parameters by layer pattern: who trains what, and that several optimizers are saved and resumed as one."""

from __future__ import annotations

import copy
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.manifest.load import load_manifest
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.chained import ChainedOptimizer
from altgrad_core.running.assembly.joined_state import joined, parted
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.testing.tiny import train

if TYPE_CHECKING:
    from tests.forks import Fork
    from tests.running.conftest import Runs

Groups = list[dict[str, Any]]


class Net(nn.Module):
    """Two linear layers around a norm, and a third that shares the weight of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.head = nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8, bias=False)
        self.head.weight = self.inner.weight
        self.last = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.head(self.norm(self.inner(x))))
        return y


def plan() -> ag.Plan:
    torch.manual_seed(0)
    return ag.quantize_model(Net(), [ag.Rule("inner|last|head", weight=ag.Quantizer("e4m3"))])


def rates(groups: Groups, **options: Any) -> dict[str, tuple[str, float]]:
    """The class and the learning rate of every parameter."""
    of = plan()
    optimizer = ag.build_optimizer("adamw", of.params(), groups=groups, **options)
    paths = {param.tensor: param.path for param in of.params()}
    members = getattr(optimizer, "members", (optimizer,))
    return {paths[p]: (type(m).__name__, g["lr"]) for m in members for g in m.param_groups for p in g["params"]}


def losses(optimizer: torch.optim.Optimizer, of: ag.Plan, *, steps: int = 6) -> list[float]:
    torch.manual_seed(1)
    x, seen = torch.randn(16, 8), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (of.model(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        of.step()
        seen.append(loss.item())
    return seen


def test_the_last_group_that_matches_has_a_parameter() -> None:
    groups = [
        {"layers": "*", "lr": 0.5},
        {"layers": "norm|last", "lr": 0.25},
        {"layers": "last", "only": "vectors", "use": "torch.optim:SGD"},
    ]
    assert rates(groups, lr=0.1) == {
        "inner.weight": ("AdamW", 0.5),
        "inner.bias": ("AdamW", 0.5),
        "norm.weight": ("AdamW", 0.25),
        "norm.bias": ("AdamW", 0.25),
        "last.weight": ("AdamW", 0.25),
        "last.bias": ("SGD", 0.001),
    }


def test_a_shared_weight_is_of_each_layer_that_has_it() -> None:
    assert rates([{"layers": "head", "lr": 0.5}], lr=0.1)["inner.weight"] == ("AdamW", 0.5)


def test_a_group_has_the_options_of_the_table_until_it_names_another_optimizer() -> None:
    groups = [{"layers": "norm", "lr": 0.5}, {"layers": "last", "use": "manifold-adamw"}]
    optimizer = ag.build_optimizer("adamw", plan().params(), groups=groups, lr=0.1, eps=0.25)
    assert [(group["lr"], group["eps"]) for group in optimizer.param_groups] == [
        *[(0.1, 0.25)] * 2,
        (0.5, 0.25),
        (0.05, 1e-8),
        (1e-3, 1e-8),
    ]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(ag.ManifestError) as caught:
        ag.build_optimizer("adamw", plan().params(), groups=[{"layers": "*"}, {"layers": "nrm"}])
    layers = "inner, head, norm, last"
    assert str(caught.value) == (
        f'groups[1].layers: no layer matches "nrm"; did you mean "norm"? the layers are: {layers}'
    )


def test_a_group_whose_parameters_are_all_frozen_is_left_out() -> None:
    of = plan()
    of.model.get_submodule("norm").requires_grad_(False)
    optimizer = ag.build_optimizer("adamw", of.params(), groups=[{"layers": "norm", "lr": 0.5}], lr=0.1)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1}


def test_a_chain_of_equal_members_steps_as_the_one_optimizer_does() -> None:
    one, two = plan(), plan()
    params = two.params()
    whole = ag.build_optimizer("adamw", one.params(), lr=0.02)
    chain = ChainedOptimizer([ag.build_optimizer("adamw", part, lr=0.02) for part in (params[:3], params[3:])])
    assert losses(chain, two) == losses(whole, one)
    assert list(chain.state) == [p for group in chain.param_groups for p in group["params"]]


def test_the_state_of_a_chain_has_the_layout_of_the_one_optimizer() -> None:
    one, two = plan(), plan()
    params = two.params()
    whole = ag.build_optimizer("adamw", one.params(), lr=0.02)
    chain = ChainedOptimizer([ag.build_optimizer("adamw", part, lr=0.02) for part in (params[:3], params[3:])])
    losses(chain, two), losses(whole, one)
    saved = chain.state_dict()
    assert saved.keys() == whole.state_dict().keys()
    indices = [index for group in saved["param_groups"] for index in group["params"]]
    assert indices == list(range(len(params))) and sorted(saved["state"]) == indices
    for index, p in enumerate(p for group in chain.param_groups for p in group["params"]):
        assert saved["state"][index] is chain.state[p]
    again = ChainedOptimizer([ag.build_optimizer("adamw", part, lr=9.0) for part in (params[:3], params[3:])])
    again.load_state_dict(copy.deepcopy(saved))
    assert [group["lr"] for group in again.param_groups] == [0.02] * len(again.param_groups)
    assert all(torch.equal(again.state[p]["exp_avg"], chain.state[p]["exp_avg"]) for p in chain.state)


def test_the_state_of_other_groups_is_refused() -> None:
    params = plan().params()
    chain = ChainedOptimizer([ag.build_optimizer("adamw", part) for part in (params[:3], params[3:])])
    other = ChainedOptimizer([ag.build_optimizer("adamw", part) for part in (params[:2], params[2:])])
    with pytest.raises(ValueError, match=r"the saved optimizer has groups of .* parameters; expected"):
        other.load_state_dict(chain.state_dict())


def test_what_members_keep_of_no_parameter_comes_back() -> None:
    states = [
        {"state": {0: {"m": 1}, "noise": 5}, "param_groups": [{"params": [0], "lr": 1}], "kept": 7},
        {"state": {1: {"m": 2}, "noise": 6}, "param_groups": [{"params": [0]}, {"params": [1]}]},
    ]
    assert parted(joined(states), [[1], [1, 1]]) == states


def test_the_distributed_checkpoint_of_torch_takes_a_chain() -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    def begun() -> tuple[ag.Plan, torch.optim.Optimizer]:
        of = plan()
        return of, ag.build_optimizer("adamw", of.params(), groups=[{"layers": "*", "only": "matrices", "use": "sgd"}])

    (one, mine), (two, theirs) = begun(), begun()
    losses(mine, one)
    two.model.load_state_dict(one.model.state_dict())
    set_optimizer_state_dict(two.model, theirs, copy.deepcopy(get_optimizer_state_dict(one.model, mine)))
    assert losses(mine, one) == losses(theirs, two)


def test_a_chain_evaluates_its_closure_once() -> None:
    of, calls = plan(), []
    optimizer = ag.build_optimizer("adamw", of.params(), groups=[{"layers": "norm", "lr": 0.5}])

    def closure() -> float:
        calls.append(torch.is_grad_enabled())
        return 3.0

    assert optimizer.step(closure) == 3.0
    assert calls == [True]


GROUPS = """
[[optimizer.group]]
layers = "lm_head|wpe"
plain_lr = 0.02

[[optimizer.group]]
layers = "*ln_*"
use = "torch.optim:NAdam"
lr = 1e-2

[[optimizer.group]]
layers = "*.mlp.*"
use = "grid"
master = "none"
"""


def test_two_optimizers_interrupted_at_any_step_and_resumed_are_the_same_run(runs: Runs) -> None:
    runs.text += GROUPS
    runs.begin("whole")
    runs.begin("steps", at=1)
    for step in (2, 3, 7, 11, 18):
        assert runs.resume("steps", at=step).status == "interrupted"
    assert runs.resume("steps").status == "finished"
    assert runs.result("steps") == runs.result("whole")


def test_two_optimizers_killed_and_resumed_are_the_same_run(runs: Runs, fork: Callable[..., Fork]) -> None:
    runs.text += GROUPS
    manifest, directory = runs.manifest(("steps = 20", "steps = 100")), runs.folder / "run"
    one = fork("run", manifest, "--out", directory)
    one.wait_for("step 10/")
    one.send(signal.SIGKILL)
    assert one.end() == -signal.SIGKILL
    assert fork("resume", directory).end() == 0
    assert max(record["step"] for record in runs.clock() if record["kind"] == "resumed") >= 9
    runs.text = manifest.read_text()
    runs.begin("whole")
    assert runs.result() == runs.result("whole")


class Doubled(OptimizerSpec):
    """Gradient descent on a float64 mean."""

    name: ClassVar = "doubled"
    lr: float = 0.01

    def build(self, groups: Any, geometry: Any) -> torch.optim.Optimizer:
        class Mean(torch.optim.Optimizer):
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for p in group["params"]:
                        mean = self.state[p].setdefault("mean", torch.zeros(p.shape, dtype=torch.float64))
                        mean.lerp_(p.grad.double(), 1 / 3)
                        p.data.sub_((group["lr"] * mean).float())

        return Mean(groups, {"lr": self.lr})


def test_state_in_a_type_of_its_own_is_restored_in_it(runs: Runs) -> None:
    runs.offers = {"optimizer": [Doubled]}
    runs.text = runs.text.replace('use = "manifold-adamw"', 'use = "doubled"')
    runs.text += '[[optimizer.group]]\nlayers = "blocks.*"\nlr = 0.02\n'
    runs.begin("whole")
    runs.begin("steps", at=4)
    runs.resume("steps", at=9)
    runs.resume("steps")
    assert runs.result("steps") == runs.result("whole")


@pytest.mark.parametrize(
    "table", ['use = "manifold-adamw"', 'use = "grid"\nmaster = "none"', 'use = "torch.optim:NAdam"']
)
def test_a_group_with_the_options_of_the_table_changes_nothing(table: str, runs: Runs) -> None:
    runs.text = runs.text.replace('use = "manifold-adamw"', table)
    runs.begin("without")
    runs.text += '\n[[optimizer.group]]\nlayers = "*.mlp.*|lm_head"\nlr = 0.1\n'
    runs.begin("with")
    assert runs.result("with") == runs.result("without")


def test_the_schedule_reaches_every_group_and_the_rate_of_the_first_is_recorded(runs: Runs) -> None:
    runs.text += GROUPS
    run = assemble(resolve(load_manifest(runs.manifest(("steps = 20", "steps = 3"))), runs.registry()))
    records = train(run).of("step")
    assert [group["lr"] / group["initial_lr"] for group in run.optimizer.param_groups] == pytest.approx([1.0] * 4)
    assert [record["learning_rate"] for record in records] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    assert records[-1]["learning_rates"] == [group["lr"] for group in run.optimizer.param_groups]
    assert len(set(records[-1]["learning_rates"])) > 1
    alone = train(
        assemble(
            resolve(
                load_manifest(runs.manifest((GROUPS, ""), ('use = "manifold-adamw"', 'use = "adamw"'))), runs.registry()
            )
        )
    ).of("step")
    assert "learning_rates" not in alone[0]
