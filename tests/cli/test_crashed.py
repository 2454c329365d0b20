"""A run that crashed: every command says so, until it is taken further; and what cannot be saved is known after one step."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Said

MODEL = """
import os
import torch

class Fragile(torch.nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.rows, self.calls = torch.nn.Embedding(vocabulary, vocabulary), 0

    def forward(self, tokens):
        self.calls += self.training
        if self.training and self.calls == int(os.environ.get("BREAKS_AT", 0)):
            raise RuntimeError("the disk of the data is gone")
        return self.rows(tokens)

def build(vocabulary):
    return Fragile(vocabulary)

class Odd(torch.optim.SGD):
    def state_dict(self):
        return {**super().state_dict(), "odd": object()}

    def step(self, closure=None):
        self.__dict__["is_stepped"] = True
        return super().step(closure)
"""
MANIFEST = """
run = { steps = 8, device = "cpu" }
model = { use = "fragile:build", block_size = 8 }
data = { use = "synthetic", vocabulary = 16, tokens = 400, batch_size = 2 }
optimizer = { use = "adamw", lr = 0.01 }
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fragile.py").write_text(MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "m.toml").write_text(MANIFEST)
    return tmp_path / "m.toml"


def test_a_crash_is_told_by_every_command_until_the_run_goes_on(
    manifest: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = manifest.parent / "runs" / "one"
    monkeypatch.setenv("BREAKS_AT", "4")
    said = altgrad("run", manifest, "--out", run)
    assert (said.code, "crashed after step 3: RuntimeError: the disk of the data is gone" in said.err) == (1, True)
    told = altgrad("diagnose", run).out
    assert told.startswith("# m: crashed at step 3 of 8\n\nRuntimeError: the disk of the data is gone (see ")
    assert "crashed" in altgrad("runs", manifest.parent / "runs").out
    os.utime(run / "records.jsonl")  # as a run has that went on, and was killed
    assert altgrad("diagnose", run).out.startswith("# m: unfinished at step 3 of 8")
    assert "unfinished" in altgrad("runs", manifest.parent / "runs").out
    monkeypatch.delenv("BREAKS_AT")
    assert altgrad("resume", run).code == 0
    assert altgrad("diagnose", run).out.startswith("# m: finished at step 8 of 8")


def test_a_state_that_cannot_be_saved_is_known_after_the_first_step(
    manifest: Path, altgrad: Callable[..., Said]
) -> None:
    run = manifest.parent / "run"
    said = altgrad("run", manifest, "--out", run, "--set", 'optimizer={use="fragile:Odd", lr=0.1}', "--steps", "5000")
    assert said.code in (1, 2)
    assert "odd is a object" in said.err and "Traceback" not in said.err


def test_a_manifest_of_the_user_is_not_replaced_by_that_of_a_study(tiny: Path, altgrad: Callable[..., Said]) -> None:
    study, folder = tiny.with_name("study.toml"), tiny.with_name("mine")
    study.write_text(tiny.read_text() + '[matrix]\n"run.seed" = [1, 2]\n')
    folder.mkdir()
    (folder / "manifest.toml").write_text("mine")
    said = altgrad("run", study, "--out", folder)
    assert said.code == 2
    assert f"{folder}: its manifest.toml is of no study that was begun here, and would be replaced" in said.err
    assert (folder / "manifest.toml").read_text() == "mine"
    (folder / "manifest.toml").write_text(study.read_text())  # as one has that was killed as it began
    assert altgrad("run", study, "--out", folder, "--steps", "2").code == 0
