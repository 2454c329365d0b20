"""Programs of torch.export: what an evaluation gives, bit for bit, also in another process."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import altgrad_core as ag

READER = """
import sys, torch
import altgrad_core as ag
for path in sys.argv[1:]:
    torch.save(ag.load_program(path + ".pt2").module()(torch.load(path + ".x")), path + ".y")
"""


class Halves(ag.Format):
    """Of no plugin: only this process knows it."""

    name, bits = "halves", 4

    def decode(self, code: int) -> float:
        return (code - 16 if code >= 8 else code) / 2


class Several(nn.Module):
    """Three kinds of layers: rows along other dimensions, shared weights, and products without a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.attention = nn.Conv1d(4, 8, 3, padding=1), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).transpose(1, 2)
        return self.last(self.last(self.attention(y, y, y, need_weights=False)[0]))


def trained(how: ag.Quantizer) -> tuple[nn.Module, ag.Plan, Tensor]:
    """A model after two steps, in evaluation, and an input."""
    torch.manual_seed(0)
    model, x = Several(), torch.randn(2, 4, 5)
    plan = ag.quantize_model(
        model, [ag.Rule("*", weight=how, activation=how), ag.Rule("attention", query=how, key=how)]
    )
    for _ in range(2):
        model(x).square().mean().backward()
        plan.step()
    return model.eval(), plan, 3 * x


HOWS = {
    "delayed and stochastic": ag.Quantizer("e4m3", "stochastic", "delayed"),
    "blocks": ag.Quantizer("e2m1", scaling=ag.Scaling("amax", "mx-floor", granularity="block:2", scale_format="e8m0")),
    "a format of no plugin": ag.Quantizer(Halves(), straight_through="clipped"),
}


def test_a_program_gives_in_another_process_what_an_evaluation_gives_here(tmp_path: Path) -> None:
    expected = []
    for number, how in enumerate(HOWS.values()):
        model, plan, x = trained(how)
        before = plan.state_dict()
        program = torch.export.export(model, (x,))
        with torch.no_grad():
            expected.append(model(x))
            assert torch.equal(program.module()(x), expected[-1])
        assert plan.state_dict() == before
        torch.export.save(program, tmp_path / f"{number}.pt2")
        torch.save(x, tmp_path / f"{number}.x")
    paths = [str(tmp_path / str(number)) for number in range(len(HOWS))]
    done = subprocess.run([sys.executable, "-c", READER, *paths], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    for path, values in zip(paths, expected, strict=True):
        assert torch.equal(torch.load(f"{path}.y"), values)


def test_a_strict_program_gives_it_too_and_passes_a_gradient_straight_through() -> None:
    model, _, x = trained(HOWS["delayed and stochastic"])
    module = torch.export.export(model, (x,), strict=True).module()
    gradients = []
    for call in (module, model):
        own = x.clone().requires_grad_()
        call(own).square().sum().backward()
        gradients.append(own.grad)
    assert torch.equal(module(x), model(x)) and torch.equal(*gradients)


def test_a_program_exported_in_training_does_not_take_an_operand_of_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _, x = trained(HOWS["delayed and stochastic"])
    program = torch.export.export(model.train(), (x,))
    monkeypatch.setattr(
        "altgrad_core.numerics.traced._PROCESS", 1
    )  # as in another process, which has operands 0, 1, ...
    with pytest.raises(ag.FormatError, match=r"not one of this process; .* or export it by training_program$"):
        program.module()(x)


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    absent, other = tmp_path / "absent.pt2", tmp_path / "other.pt2"
    other.write_text("x")
    with pytest.raises(ag.RunError, match=f"^{re.escape(str(absent))}: no such file; "):
        ag.load_program(absent)
    with pytest.raises(ag.RunError, match=f"^{re.escape(str(other))}: cannot be read as a program of torch.export: "):
        ag.load_program(other)
