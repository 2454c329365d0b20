"""`altgrad track`, and what runs with trackers do to the process and the network."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from altgrad_core import Tracker, TrackerSpec
from altgrad_core.contracts.tracker import TrackedRun
from altgrad_core.records.record import Record
from altgrad_core.registry import registry
from altgrad_core.registry.discover import Offer, Plugin
from altgrad_core.registry.registry import Registry
from altgrad_core.results.lines import RecordReader

if TYPE_CHECKING:
    from tests.forks import Fork


# ---- the command ----


def test_a_finished_run_is_handed_over(altgrad: Callable[..., Any], finished: Path, tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = shutil.copytree(finished, tmp_path / "run")
    said = altgrad("track", run, "--to", "tensorboard")
    records = list(RecordReader(run / "records.jsonl"))
    clock = [record for record in RecordReader(run / "clock.jsonl") if "step" in record]
    count = len(records) + len(clock)
    told = f"{run}: {count} records to tensorboard; tensorboard --logdir {run}/tensorboard\n"
    assert (said.code, said.out, said.err) == (0, told, "")
    events = accumulator.EventAccumulator(str(run / "tensorboard")).Reload()
    losses = [pytest.approx(record["loss"]) for record in records if record["kind"] == "step"]
    assert [event.value for event in events.Scalars("train/loss")] == losses
    assert len(events.Scalars("clock/tokens_per_second")) == 8


def test_every_cell_of_a_study_is_handed_over(altgrad: Callable[..., Any], finished: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for name in ("b", "a"):
        shutil.copytree(finished, tmp_path / name)
    (tmp_path / "not begun").mkdir()
    (tmp_path / "cells.json").write_text('{"name": "sweep"}')
    said = altgrad("track", tmp_path, "--to", "tensorboard", "--json")
    assert (said.code, said.err) == (0, "")
    told = json.loads(said.out)
    assert [one["directory"] for one in told] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [one["message"] for one in told] == [f"tensorboard --logdir {tmp_path}/{cell}/tensorboard" for cell in "ab"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "wandbb"), '--to: no tracker "wandbb"; did you mean "wandb"?'),
        (("--to", "wandb", "--set", "projct=x"), '--set: projct: wandb has no option "projct"; did you mean "project"?'),
        (("--to", "wandb", "--set", "mode=of"),
         "--set: mode: expected 'auto', 'offline', 'online' or 'disabled', got \"of\""),
        (("--to", "wandb", "--set", "mode"), "--set mode: expected KEY=VALUE, such as --set optimizer.lr=0.01"),
        (("--to", "wandb", "--set", "mode=nan"), "--set: mode: nan is not allowed; expected a finite number"),
        (("--to", "wandb", "--set", "mode.x.y=1", "--set", "mode.x.y.z=1"), "--set mode.x.y.z=1: there is no mode.x.y.z"),
        (("--to", "wandb", "--set", "init_timeout=30"), "--set: init_timeout 30 must be less than patience 30"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_explained(
    altgrad: Callable[..., Any], finished: Path, arguments: tuple[str, ...], message: str
) -> None:
    said = altgrad("track", finished, *arguments)
    assert (said.code, said.out, said.err) == (2, "", f"altgrad: {message}\n")


@pytest.mark.parametrize("content", [None, "cells.json"])
def test_a_directory_without_a_run_is_named(altgrad: Callable[..., Any], tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / content).write_text('{"name": "sweep"}')
    said = altgrad("track", tmp_path, "--to", "tensorboard")
    why = "no run has been started here; start one with: altgrad run MANIFEST"
    assert (said.code, said.err) == (2, f"altgrad: {tmp_path}: {why}\n")


def test_a_missing_package_names_the_extra(
    altgrad: Callable[..., Any], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # so that what is set there ends with the test
    said = altgrad("track", finished, "--to", "wandb", "--set", "mode=offline")
    why = 'import of wandb halted; None in sys.modules; install it with: pip install "altgrad[wandb]"'
    assert (said.code, said.err) == (2, f'altgrad: tracker "wandb": {why}\n')


def test_a_sink_that_fails_is_a_failure_of_the_world(
    altgrad: Callable[..., Any], finished: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "tensorboard").write_text("a file where the folder should be")
    said = altgrad("track", run, "--to", "tensorboard")
    why = f"FileExistsError: [Errno 17] File exists: '{run}/tensorboard'"
    assert (said.code, said.out) == (1, "")
    assert said.err == f"altgrad: {run}: tracker tensorboard failed after 0 records: {why}\n"


@pytest.mark.parametrize("content", ["not = [toml", "[run]\nname = 'a'\n", "run = 3"])
def test_a_damaged_manifest_is_named(altgrad: Callable[..., Any], tmp_path: Path, content: str) -> None:
    (tmp_path / "resolved.toml").write_text(content)
    said = altgrad("track", tmp_path, "--to", "tensorboard")
    assert said.code == 1
    assert said.err == f"altgrad: {tmp_path}/resolved.toml: is damaged: no resolved manifest\n"


# ---- a tracker that hangs, and the end of the process ----


class Hanging(Tracker):
    def write(self, record: Record) -> None:
        threading.Thread(target=threading.Event().wait).start()  # for which the interpreter would wait, too
        threading.Event().wait()

    def close(self, status: str) -> None:
        return None


class HangingSpec(TrackerSpec):
    """Never comes back."""

    name: ClassVar = "hanging"

    def build(self, run: TrackedRun) -> Tracker:
        return Hanging()


@pytest.fixture
def hanging_run(tiny: Path, fork: Callable[..., Fork], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Fork]:
    """Start a run that is tracked by what hangs."""
    offer = Plugin("here", "tests", "0", (Offer("tracker", "hanging", HangingSpec),))
    both = Registry([*registry.installed().plugins, offer])
    monkeypatch.setattr(registry, "installed", lambda: both)
    tiny.write_text(tiny.read_text() + '\n[[tracker]]\nuse = "hanging"\npatience = 0.5\n')
    return lambda steps: fork("run", tiny, "--out", tiny.with_name("run"), "--steps", steps)


def test_a_process_ends_although_a_tracker_hangs(hanging_run: Callable[..., Fork], tmp_path: Path) -> None:
    child = hanging_run(6)
    assert child.end() == 0
    assert "tiny: finished after 6 steps" in child.out
    assert "hanging: did not close in time and is left behind; " in child.err
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_signal_ends_a_run_whose_tracker_hangs(hanging_run: Callable[..., Fork], tmp_path: Path) -> None:
    child = hanging_run(100000)
    child.wait_for("step 1/")
    child.send(signal.SIGINT)
    assert child.end() == 130
    assert f"altgrad resume {tmp_path / 'run'}" in child.text()


# ---- the network ----

REFUSE = """
import os, socket
def refuse(what, original):
    def asked(*arguments, **options):
        address = arguments[1] if what in ("connect", "connect_ex") else arguments[0]
        host = address[0] if isinstance(address, tuple) else address
        is_local = isinstance(host, (bytes, str)) and str(host).startswith(("/", "127.", "::1", "localhost"))
        if host is None or is_local or (arguments and getattr(arguments[0], "family", None) == socket.AF_UNIX):
            return original(*arguments, **options)
        with open(os.environ["ATTEMPTS"], "a") as file:
            file.write(f"{what} {host}\\n")
        raise OSError(101, "Network is unreachable")
    return asked
for name in ("connect", "connect_ex"):
    setattr(socket.socket, name, refuse(name, getattr(socket.socket, name)))
socket.getaddrinfo = refuse("getaddrinfo", socket.getaddrinfo)
"""


@dataclass
class Proxy:
    """Where other programs send what they would send to the network; counts who comes."""

    came: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                visitor, address = self.socket.accept()
                self.came.append(address)
                visitor.close()
        except OSError:
            return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    one = Proxy()
    yield one
    one.socket.shutdown(socket.SHUT_RDWR)
    one.socket.close()


def offline(tmp_path: Path, proxy: Proxy, **more: str) -> dict[str, str]:
    """The environment of a process in which Python's sockets refuse all but this machine; others meet the proxy."""
    (tmp_path / "refusing").mkdir()
    (tmp_path / "refusing" / "sitecustomize.py").write_text(REFUSE)
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_") and key != "NO_PROXY"}
    return {
        **kept,
        **dict.fromkeys(names, proxy.address),
        "PYTHONPATH": str(tmp_path / "refusing"),
        "ATTEMPTS": str(tmp_path / "attempts"),
        **more,
    }


def test_a_run_attempts_no_connection(
    altgrad_process: Callable[..., Any], tiny: Path, tmp_path: Path, proxy: Proxy
) -> None:
    """With trackers, in a new process: that one loads and does all that a run without does, and more."""
    for tracker in ("tensorboard", "wandb"):
        pytest.importorskip(tracker)
        tiny.write_text(tiny.read_text() + f'\n[[tracker]]\nuse = "{tracker}"\n')
    said = altgrad_process("run", tiny, "--out", tmp_path / "run", env=offline(tmp_path, proxy))
    assert said.code == 0
    assert "warning" not in said.err
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"summary.json", "tensorboard", "wandb"}
    assert not (tmp_path / "attempts").exists()
    assert proxy.came == []


def test_connections_that_are_attempted_are_seen(tmp_path: Path, proxy: Proxy) -> None:
    code = (
        "import socket, contextlib, urllib.request\n"
        "for ask in (lambda: socket.create_connection(('192.0.2.1', 80)), lambda: socket.getaddrinfo('altgrad.test', 80),\n"
        "            lambda: socket.socket().connect(('192.0.2.1', 80)), lambda: urllib.request.urlopen('http://altgrad.test')):\n"
        "    with contextlib.suppress(OSError): ask()\n"
    )
    subprocess.run([sys.executable, "-c", code], env=offline(tmp_path, proxy), check=True)
    seen = (tmp_path / "attempts").read_text().splitlines()
    assert seen == ["getaddrinfo 192.0.2.1", "getaddrinfo altgrad.test", "connect 192.0.2.1"]
    assert len(proxy.came) == 1
