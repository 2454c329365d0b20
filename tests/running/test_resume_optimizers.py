"""Every optimizer gives the same run when it is resumed after each step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch

from altgrad_core.contracts.optimizer import OptimizerSpec
from tests.running.test_resume import STEPS

if TYPE_CHECKING:
    from tests.running.conftest import Runs

OPTIMIZERS = {
    "adamw": '{ use = "adamw", lr = 0.01 }',
    "manifold": '{ use = "manifold-adamw", lr = 0.1 }',
    "grid": '{ use = "grid", lr = 2.0 }',
    "grid without a master": '{ use = "grid", lr = 2.0, master = "none" }',
}


class DoublePrecision(OptimizerSpec):
    """Gradient descent that keeps a float64 mean and an integer count for float32 weights."""

    name: ClassVar = "double-precision"
    lr: float = 0.01

    def build(self, groups: Any, geometry: Any) -> torch.optim.Optimizer:
        return _DoublePrecision(groups, {"lr": self.lr})


class _DoublePrecision(torch.optim.Optimizer):
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                mean = state.setdefault("mean", torch.zeros(parameter.shape, dtype=torch.float64))
                count = state.setdefault("count", torch.tensor(2**24, dtype=torch.int64))
                count += 1
                mean.lerp_(parameter.grad.double(), 1 / 3)
                parameter.data.sub_((group["lr"] * mean * (int(count) % 2 + 1)).float())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_resumed_after_every_single_step_it_is_the_same_run(name: str, runs: Runs) -> None:
    setting = f"optimizer={OPTIMIZERS[name]}"
    runs.begin("whole", setting)
    runs.begin("steps", setting, at=1)
    for step in range(2, STEPS):
        assert runs.resume("steps", at=step).status == "interrupted"
    assert runs.resume("steps").status == "finished"
    assert runs.result("steps") == runs.result("whole")


def test_the_state_of_an_optimizer_keeps_the_types_it_has(runs: Runs) -> None:
    runs.offers = {"optimizer": [DoublePrecision]}
    runs.begin("whole", 'optimizer={ use = "double-precision" }')
    runs.begin("steps", 'optimizer={ use = "double-precision" }', at=4)
    runs.resume("steps", at=9)
    runs.resume("steps")
    assert runs.result("steps") == runs.result("whole")
