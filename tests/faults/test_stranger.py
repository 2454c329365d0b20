"""A run directory from a stranger is reported, diagnosed and resumed; nothing in it is executed, nothing else is written to."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.dashboard.sources import Sources
from altgrad_core.experiments.load import load
from altgrad_core.running.state.checkpoint import read_checkpoint
from tests.forks import files_in

if TYPE_CHECKING:
    from tests.forks import Fork

Start = Callable[..., "Fork"]
ESCAPE = "\x1b]0;owned\x07\x1b[2J"
COMMANDS = (
    ("diagnose", "{run}"), ("report", "{run}"), ("check", "{run}/resolved.toml"), ("track", "{run}", "--to", "tensorboard"),
    ("export", "{run}", "--out", "{here}/model.safetensors", "--no-imports"),
    ("evaluate", "{run}", "--batches", "1", "--calibrate", "1", "--no-imports"),
    ("advise", "{run}", "--bits", "8", "--format", "e4m3", "--batches", "1", "--calibrate", "1", "--no-imports", "--out",
     "{here}/advised.toml"),
    ("runs", "{here}"), ("resume", "{run}", "--no-imports"),
)  # fmt: skip

IMPORTING = (("resume",), ("export", "--out", "model.safetensors"), ("evaluate",), ("advise", "--bits", "6"))


class Evil:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def _unfinished(finished: Path, folder: Path) -> Path:
    run = folder / "theirs"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    shutil.rmtree(run / "checkpoints" / "step-8")
    return run


def _poison_checkpoint(run: Path, mark: Path) -> None:
    """A later checkpoint, well sealed, whose tensors are a pickle; and one that is a link."""
    step = run / "checkpoints" / "step-7"
    shutil.copytree(run / "checkpoints" / "step-6", step)
    content = pickle.dumps(Evil(mark))
    _forge(step, dict.fromkeys(("model.safetensors", "optimizer.safetensors", "optimizer.json"), content))
    for name in ("model.pt", "state.pkl", "data.npy"):
        (run / name).write_bytes(content)


def _forge(step: Path, contents: dict[str, bytes]) -> None:
    """Put files in a checkpoint, and seal it so well that nothing is amiss."""
    facts = json.loads((step / "checkpoint.json").read_text())["files"]
    for name, content in contents.items():
        (step / name).write_bytes(content)
        facts[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    (step / "checkpoint.json").write_text(json.dumps({"files": facts, "sha256": digest}))
    read_checkpoint(step)


def _poison_texts(run: Path) -> None:
    """Names and messages that would command the terminal, and markup for the page."""
    for name in ("records.jsonl", "clock.jsonl"):
        with (run / name).open("a") as file:
            file.write(json.dumps({"kind": "warning", "message": ESCAPE, "step": 8, "monitor": ESCAPE}) + "\n")
            file.write(json.dumps({"kind": "monitor-failed", "step": 8, "monitor": ESCAPE, "reason": ESCAPE}) + "\n")
    (run / "env.json").write_text(json.dumps({"torch": ESCAPE, "<script>alert(1)</script>": ESCAPE}))


def _poison_links(run: Path, elsewhere: Path) -> None:
    """Links out of the directory where commands write; `elsewhere` has what they would overwrite."""
    for folder in ("figures", "tables", "tensorboard"):
        (elsewhere / folder).mkdir(parents=True)
        (elsewhere / folder / "losses.svg").write_text("of somebody else")
        (run / folder).symlink_to(elsewhere / folder)
    for name in ("report.html", "report.md", "failure.md", "failure.json", "summary.json.tmp", "run.lock"):
        (elsewhere / name).write_text("of somebody else")
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(elsewhere / name)


def _poison_sizes(run: Path) -> None:
    for name in ("parent.json", "failure.json", "cells.json"):
        (run / name).unlink(missing_ok=True)
        with (run / name).open("wb") as file:
            file.truncate(1 << 40)


POISONS: dict[str, Callable[[Path, Path, Path], None]] = {
    "pickles": lambda run, mark, elsewhere: _poison_checkpoint(run, mark),
    "escapes": lambda run, mark, elsewhere: _poison_texts(run),
    "links": lambda run, mark, elsewhere: _poison_links(run, elsewhere),
    "huge files": lambda run, mark, elsewhere: _poison_sizes(run),
}


@pytest.mark.parametrize("poison", [*POISONS, "all of it"])
def test_nothing_in_it_is_executed_and_nothing_else_written_to(
    poison: str, finished: Path, tmp_path: Path, fork: Start
) -> None:
    run, mark, elsewhere = _unfinished(finished, tmp_path), tmp_path / "executed", tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name, put in POISONS.items():
        if poison in (name, "all of it"):
            put(run, mark, elsewhere)
    before = files_in(elsewhere)
    for command in COMMANDS:
        words = [word.format(run=run, here=tmp_path) for word in command]
        one = fork(*words)
        code, said = one.end(), one.text()  # what does not end is killed
        case = f"{command}: {code}: {said[-1500:]}"
        assert code in (0, 1, 2, 4) and "Traceback" not in said, case
        assert "\x1b]0" not in said and "\x1b[2J" not in said and "\x07" not in said, case
        assert not mark.exists() and files_in(elsewhere) == before, case
    loaded = load(run)
    assert loaded.problems is not None and "\x1b" not in loaded._repr_html_()
    sources = Sources(tmp_path)
    for listed in sources.listing():
        sources.run(listed)
        sources.weights(listed)
    assert not mark.exists() and files_in(elsewhere) == before
    if (page := run / "report.html").exists() and not page.is_symlink():
        assert "<script>alert" not in page.read_text() and "\x1b" not in page.read_text()


@pytest.mark.parametrize("table", ["model", "optimizer"])
def test_import_paths_are_not_followed_but_where_that_is_trusted(
    table: str, finished: Path, tmp_path: Path, fork: Start
) -> None:
    run, mark = _unfinished(finished, tmp_path), tmp_path / "executed"
    (run / "evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    text = (run / "resolved.toml").read_text()
    names = {"model": 'use = "nanogpt"', "optimizer": 'use = "manifold-adamw"'}
    assert names[table] in text
    text = text.replace(names[table], 'use = "evil:make"')
    (run / "resolved.toml").write_text(text)
    _seal_again(run, text)
    for command in (("diagnose", "."), ("report", ".")):
        one = fork(*command, before=lambda: os.chdir(run))
        assert (one.end(), mark.exists()) == (0, False), (command, one.text())
    for command in IMPORTING:
        one = fork(*command, ".", "--no-imports", before=lambda: os.chdir(run))
        assert (one.end(), mark.exists()) == (2, False), (command, one.text())
        refused = f'{table}.use: "evil:make" would be imported, and --no-imports forbids it; look at the code first'
        assert "altgrad: resolved.toml:" in one.text() and refused in one.text(), one.text()


def _seal_again(run: Path, resolved: str) -> None:
    """Forge the hash of the manifest in every checkpoint."""
    for step in (run / "checkpoints").glob("step-*"):
        progress = json.loads((step / "progress.json").read_text())
        progress["manifest_sha256"] = hashlib.sha256(resolved.encode()).hexdigest()
        _forge(step, {"progress.json": json.dumps(progress).encode()})
