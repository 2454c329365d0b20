"""The tracker of Trackio, with the real package where it is installed, and without a network."""

from __future__ import annotations

import importlib
import io
import math
import socket
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from altgrad_trackers import Trackio
from altgrad_trackers.trackio_run import _without_words

from altgrad_core import PluginError, TrackedRun

MANIFEST = {"run": {"name": "demo", "seed": 7}, "optimizer": {"use": "adamw", "lr": 0.5}}


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    return TrackedRun(name="demo", directory=tmp_path, manifest=MANIFEST, group="study")


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What Trackio keeps on disk; nothing it does reaches the network."""
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    before = set(sys.modules)
    pytest.importorskip("trackio")

    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    for module in [name for name in set(sys.modules) - before if name.partition(".")[0] == "trackio"]:
        del sys.modules[module]


def test_the_real_trackio_keeps_every_number_at_its_step_on_this_machine(
    storage: Any, run: TrackedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Trackio(project="mine").build(run)
    tracker.write({"kind": "step", "step": 1, "loss": 2.5, "learning_rate": 0.1})
    tracker.write({"kind": "step", "step": 2, "loss": "NaN", "learning_rate": 0.1})
    tracker.write({"kind": "evaluation", "step": 2, "loss": 2.0})
    tracker.write({"kind": "tracker", "message": "anything"})
    assert tracker.close("finished") == "trackio show --project mine"
    logs = storage.get_logs("mine", "demo")
    seen = [(log["step"], key, value) for log in logs for key, value in log.items() if key.endswith("loss")]
    assert seen[0] == (1, "train/loss", 2.5) and seen[2] == (2, "val/loss", 2.0)
    assert seen[1][:2] == (2, "train/loss") and math.isnan(float(seen[1][2]))
    assert storage.get_run_config("mine", "demo")["optimizer.lr"] == 0.5
    assert capsys.readouterr().out == ""


def test_only_what_trackio_itself_prints_is_kept_from_stdout() -> None:
    import threading

    shown = io.StringIO()
    with redirect_stdout(shown), _without_words():
        print("a word of Trackio")
        other = threading.Thread(target=print, args=("a result",))
        other.start()
        other.join()
    assert shown.getvalue() == "a result\n"


def test_a_missing_trackio_names_the_extra(run: TrackedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(PluginError) as caught:
        Trackio().build(run)
    assert str(caught.value) == (
        'tracker "trackio": import of trackio halted; None in sys.modules; install it with: pip install "altgrad[trackio]"'
    )
