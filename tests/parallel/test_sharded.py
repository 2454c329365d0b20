"""Models sharded by `fully_shard` in a training script of one's own: as one process that takes all micro-batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

import altgrad_core as ag
from altgrad_core.integrations.sharded import load_sharded, save_sharded
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.sharded_trial import refuse_unshardable
from altgrad_core.running.parallel.processes import ALONE, Processes
from tests.parallel.together import together

STOCHASTIC = ag.Quantizer("e5m2", rounding="stochastic", scaling="delayed")
BLOCKS = ag.Quantizer("e4m3", scaling=ag.Scaling(granularity="tile:4x3"))
COLUMNS = ag.Quantizer("e3m4", scaling=ag.Scaling(granularity="column", rounding="exact"))
Variant = tuple[str, dict[str, Any], dict[str, Any]]  # an optimizer, its options, and roles of the rule
NO_MASTER = {"master": "none", "bit_position": True}
REGISTERED: list[Variant] = [
    *((name, {}, {}) for name in installed().names("optimizer")),
    ("grid", NO_MASTER, {"weight": STOCHASTIC}),
    ("manifold-adamw", {}, {"weight": BLOCKS}),
    ("adamw", {}, {"moment": "e4m3", "second_moment": STOCHASTIC}),
]
OTHERS: list[Variant] = [
    ("adamw-stochastic", {"rounding": "nearest-even"}, {}),
    ("grid", {"normalize": "rms", "bit_position": True}, {}),
    ("manifold-adamw", {"bit_position": True, "floor": 3}, {}),
    ("manifold-adamw", {"walk": "linear", "bit_position": True}, {}),
    ("manifold-adamw", {"moments": "carried"}, {}),
    ("manifold-adamw", {"precondition": "gradient"}, {}),
    ("manifold-adamw", {"geometry": "e3m4"}, {}),
    *(("manifold-adamw", {"spacing": control}, {}) for control in ("shuffled", "rms", "initial", "initial-rms")),
    ("torch.optim:NAdam", {}, {}),
    *((name, options, {"weight": weight}) for weight in (STOCHASTIC, BLOCKS, COLUMNS)
      for name, options in (("manifold-adamw", {}), ("grid", NO_MASTER), ("adamw-kahan", {}))),
]  # fmt: skip
"""Options and quantizers that take another path."""
SUMS = (
    {"lamb", "adamw-relative", "madam"},
    ({"normalize": "rms", "bit_position": True}, {"spacing": "rms"}, {"spacing": "initial-rms"}),
)
"""Optimizers and options that use sums over a whole tensor, which shards add in another order."""


class Script:
    """A model of two layers, whose rows no two processes share evenly, and what trains it."""

    def __init__(self, name: str, options: dict[str, Any], **roles: Any) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(8, 15), torch.nn.Tanh(), torch.nn.Linear(15, 5))
        if torch.distributed.is_initialized():
            from torch.distributed.fsdp import fully_shard

            mesh = torch.distributed.init_device_mesh("cpu", (torch.distributed.get_world_size(),))
            fully_shard(self.model[0], mesh=mesh)
            fully_shard(self.model, mesh=mesh)
        rule = ag.Rule("*", **{"weight": "e4m3", "activation": "e4m3", "gradient": "e5m2", **roles})
        self.plan = ag.quantize_model(self.model, [rule], seed=5)
        self.optimizer = ag.build_optimizer(name, self.plan.params(), **options)
        self.plan.attach(self.optimizer)

    def train(self, steps: range, *, batches: int = 2) -> dict[str, Any]:
        """Each process takes one micro-batch of a step, a process alone all; the weights and scales afterwards."""
        alone = not torch.distributed.is_initialized()
        mine = range(batches) if alone else [torch.distributed.get_rank()]
        for step in steps:
            for batch in mine:
                x = torch.randn(4, 8, generator=torch.Generator().manual_seed(10 * step + batch))
                (self.model(x).square().mean() / (batches if alone else 1)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return self.told()

    def told(self) -> dict[str, Any]:
        """Weights, whole, and scales."""
        weights = {name: ag.gathered(p.detach()).clone() for name, p in self.model.named_parameters()}
        scales = {o.path: o.scale.clone() for o in self.plan.operands() if o.role == "weight"}
        return {"weights": weights, "scales": scales}


def both(folder: Path, work: Callable[[], Any], size: int = 2) -> tuple[Any, Any]:
    """What some work gives in one process, and in the first of several."""

    def one(processes: Processes) -> int:
        found = work()
        if processes.rank == 0:
            torch.save(found, folder / "found.pt")
        return 0

    assert one(ALONE) == 0
    alone = torch.load(folder / "found.pt", weights_only=False)
    assert together(size, folder, one) == [0] * size
    return alone, torch.load(folder / "found.pt", weights_only=False)


def all_of(variants: list[Variant]) -> list[dict[str, Any]]:
    return [Script(name, options, **roles).train(range(3)) for name, options, roles in variants]


def refuse_differences(variant: Variant, alone: dict[str, Any], shared: dict[str, Any]) -> None:
    for kind in ("weights", "scales"):
        assert alone[kind].keys() == shared[kind].keys()
        for key, value in alone[kind].items():
            if variant[0] in SUMS[0] or variant[1] in SUMS[1]:
                torch.testing.assert_close(shared[kind][key], value, rtol=2e-6, atol=1e-8)
            else:
                assert torch.equal(shared[kind][key], value), (variant, kind, key)


@pytest.mark.parametrize("variants", [REGISTERED, pytest.param(OTHERS, marks=pytest.mark.slow)], ids=["each", "others"])
def test_two_processes_that_share_a_model_train_it_as_one_does(variants: list[Variant], tmp_path: Path) -> None:
    alone, shared = both(tmp_path, lambda: all_of(variants))
    for variant, one, two in zip(variants, alone, shared, strict=True):
        refuse_differences(variant, one, two)


@pytest.mark.slow
def test_four_processes_train_as_one_does_to_rounding(tmp_path: Path) -> None:
    variants: list[Variant] = [("adamw", {}, {}), ("manifold-adamw", {}, {"weight": BLOCKS})]
    alone, shared = both(tmp_path, lambda: [Script(n, o, **r).train(range(3), batches=4) for n, o, r in variants], 4)
    for one, four in zip(alone, shared, strict=True):
        for key, value in one["weights"].items():
            torch.testing.assert_close(four["weights"][key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["adamw-kahan", *(pytest.param(n, marks=pytest.mark.slow) for n in ("manifold-adamw", "lns-madam", "grid"))]
)
def test_a_sharded_checkpoint_goes_on_with_another_number_of_processes(name: str, tmp_path: Path) -> None:
    options = {"master": "none"} if name == "grid" else {}
    whole = Script(name, options, weight=STOCHASTIC).train(range(4))

    def first(processes: Processes) -> int:
        script = Script(name, options, weight=STOCHASTIC)
        script.train(range(2))
        save_sharded(tmp_path / "saved", script.plan, script.optimizer)
        return 0

    assert together(2, tmp_path, first) == [0, 0]
    script = Script(name, options, weight=STOCHASTIC)
    load_sharded(tmp_path / "saved", script.plan, script.optimizer)
    found = script.train(range(2, 4))
    for key, value in whole["weights"].items():
        assert torch.equal(found["weights"][key], value), key


def test_a_sharded_checkpoint_of_one_process_is_continued_by_two(tmp_path: Path) -> None:
    script = Script("manifold-adamw", {})
    script.train(range(2))
    save_sharded(tmp_path / "saved", script.plan, script.optimizer)
    whole = script.train(range(2, 4))

    def second(processes: Processes) -> int:
        script = Script("manifold-adamw", {})
        load_sharded(tmp_path / "saved", script.plan, script.optimizer)
        found = script.train(range(2, 4))
        return 0 if all(torch.equal(found["weights"][key], value) for key, value in whole["weights"].items()) else 1

    assert together(2, tmp_path, second) == [0, 0]


def test_a_checkpoint_is_not_overwritten_and_another_model_is_refused(tmp_path: Path) -> None:
    script = Script("sgd", {})
    script.train(range(1))
    save_sharded(tmp_path / "saved", script.plan, script.optimizer)
    with pytest.raises(ag.RunError) as caught:
        save_sharded(tmp_path / "saved", script.plan, script.optimizer)
    assert str(caught.value) == (
        f"{tmp_path / 'saved'}: there is a checkpoint already; give every checkpoint a folder of its own"
    )
    with pytest.raises(ag.RunError) as caught:
        load_sharded(tmp_path / "none", script.plan, script.optimizer)
    assert str(caught.value) == (
        f"{tmp_path / 'none'}: there is no complete checkpoint; expected what save_sharded wrote"
    )
    other = Script("adamw", {})
    with pytest.raises(ag.RunError, match="the checkpoint is of another model or optimizer, or damaged: Missing key"):
        load_sharded(tmp_path / "saved", other.plan, other.optimizer)


class Mixing(ag.OptimizerSpec):
    """Steps with a plain tensor, which has no place beside a sharded one."""

    name: ClassVar = "mixing"
    lr: float = 0.1

    def build(
        self, groups: list[dict[str, Any]], geometry: Mapping[torch.Tensor, ag.Geometry]
    ) -> torch.optim.Optimizer:
        class Optimizer(torch.optim.SGD):
            @torch.no_grad()
            def step(self) -> None:  # type: ignore[override]
                for parameter in self.param_groups[0]["params"]:
                    parameter.sub_(torch.ones(parameter.shape))

        return Optimizer(groups, lr=self.lr)


def test_what_cannot_be_done_with_shards_is_refused_by_name(tmp_path: Path) -> None:
    def refused(processes: Processes) -> int:
        script = Script("adamw", {})
        said = []
        for attempt in (
            lambda: ag.build_optimizer("torch.optim:Adafactor", script.plan.params()),
            lambda: refuse_unshardable(Mixing(), script.plan.params()),
            lambda: ag.watch(script.model, script.optimizer, out=tmp_path / "watched"),
            lambda: script.plan.export(tmp_path / "model.safetensors"),
            lambda: ag.quantize(script.model[0].weight, ag.Quantizer("e4m3")),
        ):
            try:
                attempt()
            except ag.AltgradError as error:
                said.append(str(error))
        if processes.rank == 0:
            (tmp_path / "said.json").write_text(json.dumps(said))
        return 0

    assert together(2, tmp_path, refused) == [0, 0]
    imported, mixing, watch, export, plain = json.loads((tmp_path / "said.json").read_text())
    assert imported.startswith("torch.optim:Adafactor, given parameters of 2 dimensions, cannot take a step")
    assert mixing.startswith('optimizer "mixing" cannot train the sharded parameter 2.weight: RuntimeError: aten.sub_')
    assert mixing.endswith("; train replicas with DistributedDataParallel, or take another optimizer")
    assert watch == (
        "watch: the weight of 0 is sharded over processes (fully_shard), and monitors need whole weights; "
        "watch a script with replicas (DistributedDataParallel), or none"
    )
    assert export == (
        "0.weight is sharded over processes (fully_shard), so it can be neither exported nor baked here; write it with "
        "save_sharded of altgrad_core.integrations.sharded, and read that in one process"
    )
    assert plain == "quantize: x is sharded over processes (a DTensor); gather it first, as x.full_tensor()"
