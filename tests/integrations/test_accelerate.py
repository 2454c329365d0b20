"""A quantized model in a loop of accelerate, and what peft and torch make of quantized models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import altgrad_core as ag
from altgrad_core.records.record import read_records

accelerate = pytest.importorskip("accelerate")
RULE = ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e4m3", scaling="delayed"))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randint(8, (16,), generator=torch.Generator().manual_seed(step))
    return x, (3 * x + 1) % 8


class Training:
    """A loop as the guide of accelerate has it."""

    def __init__(self, out: Path, *, resume: bool = False) -> None:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))
        plan = ag.quantize_model(model, [RULE])
        self.accelerator = accelerate.Accelerator(cpu=True)
        prepared = self.accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=0.01))
        self.model, self.optimizer = prepared
        plan.attach(self.optimizer)
        self.watch = ag.watch(self.model, self.optimizer, monitors=["flips"], every=2, out=out, resume=resume)
        self.accelerator.register_for_checkpointing(self.watch)

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last + 1):
            x, y = batch(step)
            loss = nn.functional.cross_entropy(self.model(x), y)
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
            self.optimizer.step()
            self.watch.step(loss)


def test_a_resumed_loop_gives_the_same_bits(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole" / "run")
    whole.steps(1, 6)
    whole.watch.close()
    first = Training(tmp_path / "run")
    first.steps(1, 3)
    first.accelerator.save_state(str(tmp_path / "saved"))
    first.steps(4, 5)
    first.watch.leave()
    second = Training(tmp_path / "run", resume=True)
    second.accelerator.load_state(str(tmp_path / "saved"))
    second.steps(4, 6)
    second.watch.close()
    for (name, one), two in zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(one, two), name
    one, two = (tmp_path / path / "records.jsonl" for path in ("whole/run", "run"))
    assert list(read_records(one)) == list(read_records(two))


def peft_model(model: nn.Module) -> Any:
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["1", "3"], init_lora_weights=True))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))


def trained(model: nn.Module, plan: ag.Plan, *, after: Any = lambda: None) -> list[float]:
    optimizer = ag.build_optimizer("adamw", plan.params(), lr=0.02)
    plan.attach(optimizer)
    losses = []
    for step in range(20):
        x, y = batch(step)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        losses.append(loss.item())
    return losses


def test_adapters_around_a_quantized_model_train() -> None:
    own = network()
    plan = ag.quantize_model(own, [RULE])
    before = {path: own.get_submodule(path).weight.clone() for path in ("1", "3")}
    x, _ = batch(0)
    with torch.no_grad():
        plain = own.eval()(x)
    model = peft_model(own)
    with torch.no_grad():
        assert torch.equal(model.eval()(x), plain)  # B = 0
    losses = trained(model.train(), plan)
    assert losses[-1] < losses[0]
    for path, weight in before.items():
        assert torch.equal(model.base_model.model.get_submodule(path).base_layer.weight, weight)


def test_a_model_with_adapters_is_quantized_with_them() -> None:
    model = peft_model(network())
    plan = ag.quantize_model(model, [RULE])
    assert {path.rpartition("model.")[2] for path in plan.layers} >= {
        "1.base_layer",
        "1.lora_A.default",
        "3.lora_B.default",
    }
    losses = trained(model, plan)
    assert losses[-1] < losses[0]
    frozen = [p for p in plan.params() if "base_layer" in p.path and p.tensor.requires_grad]
    assert frozen == []


def test_an_average_of_weights_is_evaluated_quantized() -> None:
    model = network()
    plan = ag.quantize_model(model, [RULE])
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    trained(model, plan, after=lambda: average.update_parameters(model))
    mean = average.module
    x, y = batch(0)
    again = network()  # another way to the same: the averages in a fresh model
    other = ag.quantize_model(again, [RULE])
    again.load_state_dict({name: value.clone() for name, value in mean.state_dict().items()})
    other.load_state_dict({"step": 0, "operands": {p: _states(mean.get_submodule(p)) for p in ("1", "3")}})
    with torch.no_grad():
        loss = nn.functional.cross_entropy(mean.eval()(x), y)
        assert torch.equal(mean(x), again.eval()(x)) and not torch.equal(mean(x), model.eval()(x))
    assert loss < 2.0
    values = ag.fake_quantize(mean[1].weight, ag.load_format("e4m3"), scaling="amax")
    assert not torch.equal(values, mean[1].weight)


def _states(module: Any) -> dict[str, Any]:
    return {role: operand.state_dict() for role, operand in module.quantized.products[""].items()}
