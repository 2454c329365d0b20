"""A format, an optimizer, a kind of layer and an executor, each in a package of its own: nothing else is edited.

Readings of a stranger are in `test_readings.py`; rounding modes, tilings and backends in `numerics/test_extension.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import altgrad_core as ag
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.state.checkpoint import checkpoint_steps

if TYPE_CHECKING:
    from tests.conftest import Said

FORMAT = """
    from altgrad_core import Format, hookimpl

    class Quarters(Format):
        "Quarters from -2 to 1.75."
        name, bits = "quarters", 4

        def decode(self, code):
            return (code - 16 if code >= 8 else code) / 4

    @hookimpl
    def altgrad_formats():
        yield Quarters()
"""
OPTIMIZER = """
    from typing import ClassVar
    from altgrad_core import OptimizerSpec, hookimpl

    class Fixed(OptimizerSpec):
        "Moves every parameter by `lr` against the sign of its gradient."
        name: ClassVar = "fixed-steps"
        lr: float = 0.25

        def build(self, groups, geometry):
            import torch

            class FixedSteps(torch.optim.Optimizer):
                @torch.no_grad()
                def step(self, closure=None):
                    for group in self.param_groups:
                        for p in group["params"]:
                            p.sub_(group["lr"] * p.grad.sign())

            return FixedSteps(groups, {"lr": self.lr})

    @hookimpl
    def altgrad_optimizers():
        yield Fixed
"""
LAYER = """
    from typing import ClassVar
    from altgrad_core import LayerSpec, ModelSpec, hookimpl

    class Halved(LayerSpec):
        "A linear layer that takes half of its input."
        name: ClassVar = "halved-linear"

        def adapts(self, module):
            return type(module).__name__ == "HalvedLinear"

        def forward(self, module, rounding, x):
            return rounding.linear(x / 2, module.weight, None)

    class Model(ModelSpec):
        "An embedding and one halved layer."
        name: ClassVar = "halved-bigram"

        def build(self, vocabulary):
            import torch
            from torch import nn

            class HalvedLinear(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.weight = nn.Parameter(torch.zeros(vocabulary, 4))

                def forward(self, x):
                    return nn.functional.linear(x / 2, self.weight)

            return nn.Sequential(nn.Embedding(vocabulary, 4), HalvedLinear())

    @hookimpl
    def altgrad_layers():
        yield Halved

    @hookimpl
    def altgrad_models():
        yield Model
"""
EXECUTOR = """
    from threading import Thread
    import altgrad_core
    from altgrad_core import Executor, ExecutorSpec, Job, hookimpl

    SUBMITTED = []

    class OneThread(Executor, Job):
        capacity = 1
        cancel = kill = close = lambda self, *signal: None

        def submit(self, task, tell):
            SUBMITTED.append(task["directory"])
            Thread(target=lambda: tell(altgrad_core.train_cell(task, tell)), daemon=True).start()
            return self

    class Threads(ExecutorSpec):
        "Trains one cell at a time, in a thread of this process."
        name = "one-thread"

        def build(self, jobs):
            return OneThread()

    @hookimpl
    def altgrad_executors():
        yield Threads
"""
PACKAGES = {"a-format": FORMAT, "an-optimizer": OPTIMIZER, "a-layer": LAYER, "an-executor": EXECUTOR}
STUDY = """
[run]
steps = 3
checkpoint_every = 3
[model]
use = "halved-bigram"
block_size = 4
[data]
use = "synthetic"
vocabulary = 8
tokens = 500
batch_size = 2
[optimizer]
use = "fixed-steps"
[[recipe]]
layers = "*"
weight = { format = "quarters", scaling = "none" }
[[monitor]]
use = "flips"
every = 1
[executor]
use = "one-thread"
[matrix]
run.seed = [1, 2]
"""


@pytest.fixture
def trained(install: Callable[..., Path], tmp_path: Path, altgrad: Callable[..., Said]) -> Path:
    """A study of two cells that uses all of them."""
    for name, source in PACKAGES.items():
        install(name, source)
    (tmp_path / "study.toml").write_text(STUDY)
    said = altgrad("run", tmp_path / "study.toml", "--out", tmp_path / "out")
    assert said.code == 0, said.err
    return tmp_path / "out"


def test_packages_from_outside_are_used_like_built_in_ones(trained: Path) -> None:
    import torch
    from safetensors.torch import load_file

    cells = sorted(path.parent for path in trained.glob("*/summary.json"))
    assert sorted(sys.modules["an_executor"].SUBMITTED) == [str(cell) for cell in cells]
    for cell in cells:
        records = list(RecordReader(cell / "records.jsonl"))
        began = next(record for record in records if record["kind"] == "began")
        assert [facts for facts in began["formats"] if facts["name"] == "quarters"] == [
            ag.load_format("quarters").facts()
        ]
        flips = [record["values"] for record in records if record["kind"] == "reading"]
        assert flips and all(set(values) == {"1"} for values in flips)  # the layer, by its path in the model
        step = checkpoint_steps(cell / "checkpoints")[0]
        weight = load_file(cell / "checkpoints" / f"step-{step}" / "model.safetensors")["1.weight"]
        assert weight.any() and torch.equal(weight, (weight * 4).round() / 4)


def test_they_are_listed_with_their_distributions(install: Callable[..., Path], altgrad: Callable[..., Said]) -> None:
    for name, source in PACKAGES.items():
        install(name, source)
    said = altgrad("list-plugins")
    for name, distribution in {
        "quarters": "a-format", "fixed-steps": "an-optimizer", "halved-linear": "a-layer", "one-thread": "an-executor",
    }.items():  # fmt: skip
        assert any(name in line and distribution in line for line in said.out.splitlines()), said.out
