"""A quantized model in a loop of accelerate, watched, saved and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.results.lines import RecordReader

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
    assert list(RecordReader(one)) == list(RecordReader(two))
