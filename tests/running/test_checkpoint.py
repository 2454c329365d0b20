"""A checkpoint is whole or it is passed over by name; nothing in it is ever executed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from altgrad_core.errors import RunError
from altgrad_core.running.loop import loop
from altgrad_core.running.loop.evaluate import Evaluation
from altgrad_core.running.state import checkpoint as subject
from altgrad_core.running.state.checkpoint import (
    checkpoint_steps,
    newest_checkpoint,
    prune,
    read_checkpoint,
    write_checkpoint,
)
from altgrad_core.running.state.serialize import load_model_file, model_file, tensors_from

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs

FILES = {"model.safetensors": b"tensors", "plan.json": b"{}"}


@pytest.fixture(scope="module")
def real(shared_runs: Runs) -> Path:
    """The last checkpoint of a real run."""
    shared_runs.begin("real")
    return shared_runs.folder / "real" / "checkpoints" / "step-20"


def _places(real: Path, count: int) -> list[tuple[Path, int]]:
    """Random bytes of the files of a checkpoint, every file as often as the others, the first and last among them."""
    choose, files = random.Random(5), sorted(real.iterdir())
    fixed = [(file, place) for file in files for place in (0, file.stat().st_size - 1)]
    return fixed + [(f := files[i % len(files)], choose.randrange(f.stat().st_size)) for i in range(count - len(fixed))]


def test_two_hundred_flipped_bits_are_noticed(
    real: Path, tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    copy = Path(shutil.copytree(real, tmp_path / "step-20"))
    choose = random.Random(6)
    for file, place in _places(real, 200):
        raw = bytearray(file.read_bytes())
        raw[place] ^= 1 << choose.randrange(8)
        (copy / file.name).write_bytes(raw)
        with pytest.raises(RunError, match=f"{file.name} (was altered|is damaged)"):
            read_checkpoint(copy)
        shutil.copyfile(file, copy / file.name)
    assert read_checkpoint(copy)
    record_property("tried", 200)


def test_two_hundred_truncations_are_noticed(
    real: Path, tmp_path: Path, record_property: Callable[[str, int], None]
) -> None:
    copy = Path(shutil.copytree(real, tmp_path / "step-20"))
    for file, place in _places(real, 200):
        os.truncate(copy / file.name, place)
        with pytest.raises(
            RunError, match=f"{file.name} (has {place} bytes, expected {file.stat().st_size}|is damaged)"
        ):
            read_checkpoint(copy)
        shutil.copyfile(file, copy / file.name)
    assert read_checkpoint(copy)
    record_property("tried", 200)


def test_every_missing_longer_or_unreadable_file_is_noticed(real: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(real, tmp_path / "step-20"))
    for file in sorted(real.iterdir()):
        (copy / file.name).unlink()
        with pytest.raises(RunError) as caught:
            read_checkpoint(copy)
        assert str(caught.value) == f"{copy}: {file.name} cannot be read: No such file or directory"
        (copy / file.name).mkdir()
        with pytest.raises(RunError, match=file.name):
            read_checkpoint(copy)
        (copy / file.name).rmdir()
        (copy / file.name).write_bytes(file.read_bytes() + b" ")
        with pytest.raises(RunError, match=file.name):
            read_checkpoint(copy)
        shutil.copyfile(file, copy / file.name)
    assert read_checkpoint(copy)


def test_a_damaged_newest_checkpoint_is_passed_over_by_name(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 1, FILES)
    newer = write_checkpoint(tmp_path, 2, FILES)
    (newer / "plan.json").write_bytes(b"[]")
    step, files, passed_over = newest_checkpoint(tmp_path) or (None, None, None)
    assert (step, files) == (1, FILES)
    assert passed_over == [f"{newer}: plan.json was altered: its SHA-256 is not the recorded one"]


def test_checkpoints_are_compared_by_number(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step, FILES)
    (tmp_path / "step-300.tmp").mkdir()
    (tmp_path / "step-x").mkdir()
    assert checkpoint_steps(tmp_path) == [100, 20, 9]


def test_resume_says_which_checkpoint_it_uses_instead(runs: Runs, altgrad: Callable[..., Said]) -> None:
    runs.begin(at=10)
    newest = runs.folder / "run" / "checkpoints" / "step-10"
    (newest / "optimizer.safetensors").write_bytes(b"")
    size = json.loads((newest / "checkpoint.json").read_text())["files"]["optimizer.safetensors"]["bytes"]
    said = altgrad("resume", runs.folder / "run")
    problem = f"{newest}: optimizer.safetensors has 0 bytes, expected {size}; using step-9 instead"
    assert said.code == 0
    assert f"warning: {problem}\nresumed at step 9\n" in said.err
    assert problem in [record.get("message") for record in runs.clock()]


def test_with_no_usable_checkpoint_it_lists_them_and_ends_with_1(runs: Runs, altgrad: Callable[..., Said]) -> None:
    runs.begin(at=10)
    root = runs.folder / "run" / "checkpoints"
    for step in runs.steps():
        (root / f"step-{step}" / "checkpoint.json").write_bytes(b"")
    said = altgrad("resume", runs.folder / "run")
    listed = "".join(f"\n  {root}/step-{step}: checkpoint.json is damaged" for step in runs.steps())
    assert (said.code, said.err) == (1, f"altgrad: no checkpoint is usable:{listed}\n")


def test_the_last_ones_and_the_best_are_kept(tmp_path: Path) -> None:
    for step in range(6):
        write_checkpoint(tmp_path, step, FILES)
    prune(tmp_path, newest=5, keep=2, also={1, 77})
    assert checkpoint_steps(tmp_path) == [5, 4, 1]


def test_damaged_ones_of_later_steps_do_not_count_among_the_last(tmp_path: Path) -> None:
    for step in (4, 6, 7, 9):
        write_checkpoint(tmp_path, step, FILES)
    prune(tmp_path, newest=7, keep=2, also=())
    assert checkpoint_steps(tmp_path) == [9, 7, 6]


def test_what_a_killed_write_left_is_removed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 2, FILES)
    (tmp_path / "step-1.tmp").mkdir()
    prune(tmp_path, newest=2, keep=2, also=())
    assert [path.name for path in tmp_path.iterdir()] == ["step-2"]


def test_a_run_keeps_its_best_checkpoint(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "evaluate", lambda run, step: Evaluation(1.0 + abs(step - 8), (), {}))
    runs.begin("run", "run.checkpoint_every=4")
    assert runs.steps() == [20, 16, 8]


def test_a_checkpoint_that_cannot_be_read_back_is_never_given_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path, 1, FILES)
    honest = subject._write_through
    monkeypatch.setattr(
        subject,
        "_write_through",
        lambda path, content: honest(path, content.replace(b"tensors", b"TENSORS", path.suffix == ".safetensors")),
    )
    with pytest.raises(OSError) as caught:
        write_checkpoint(tmp_path, 2, FILES)
    assert caught.value.strerror == (
        f"what was written cannot be read back: {tmp_path}/step-2.tmp: "
        "model.safetensors was altered: its SHA-256 is not the recorded one"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


class Tied(nn.Module):
    """Two names for one weight, and a view of a part of it."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(width, 3, bias=False), nn.Linear(width, 3, bias=False)
        self.two.weight = self.one.weight
        self.register_buffer("count", torch.tensor(2**53 + 1))
        self.register_buffer("nothing", torch.zeros(0, 3))


def test_tied_tensors_are_written_once_and_stay_tied() -> None:
    written, fresh = Tied(), Tied()
    raw = model_file(written)
    assert sorted(tensors_from(raw, "model")) == ["count", "nothing", "one.weight"]
    fresh.count.zero_()
    load_model_file(fresh, raw)
    assert torch.equal(fresh.two.weight, written.one.weight)
    assert fresh.two.weight is fresh.one.weight
    assert fresh.count == 2**53 + 1


def test_a_checkpoint_of_another_model_is_refused_with_the_first_name_that_differs() -> None:
    model = Tied()
    for other, message in (
        (nn.Linear(4, 3), "it has no weight"),
        (Tied(width=5), "one.weight has shape (3, 4) there and (3, 5) here"),
        (nn.ModuleDict({"one": nn.Linear(4, 3, bias=False)}), "this one has no count"),
    ):
        before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
        with pytest.raises(RunError) as caught:
            load_model_file(other, model_file(model))
        assert str(caught.value) == f"the checkpoint is of another model: {message}"
        assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_a_checkpoint_of_another_recipe_is_refused_with_layer_and_role(runs: Runs) -> None:
    runs.begin("other", at=2)
    runs.text = runs.text.replace("activation =", "# activation =")
    runs.begin("run", at=2)
    root = runs.folder / "run" / "checkpoints"
    own, other = (read_checkpoint(runs.folder / name / "checkpoints" / "step-2") for name in ("run", "other"))
    write_checkpoint(root, 2, {**other, "progress.json": own["progress.json"]})
    with pytest.raises(RunError) as caught:
        runs.resume()
    assert str(caught.value) == (
        f"{root}/step-2: the saved plan is of another recipe: they differ in the activation of blocks.0.attn.c_proj"
    )
