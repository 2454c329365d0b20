"""A signal in every phase of a run and of a report: nothing is lost, nothing is a traceback, and it ends as it would have."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.numerics.kernels import deterministic, passes
from tests.conftest import QUICK
from tests.forks import files_in
from tests.patience import wait_for

if TYPE_CHECKING:
    from tests.forks import Fork

Start = Callable[..., "Fork"]
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGKILL, signal.SIGSTOP)
PHASES = {  # where the signal is sent: a function, as `module:name`, and which of its calls
    "looking for plugins": ("altgrad_core.registry.registry:installed", 1),
    "reading the manifest": ("altgrad_core.manifest.load:load_manifest", 1),
    "assembling": ("altgrad_core.running.session.session:assemble", 1),
    "compiling": ("numba.core.dispatcher:Dispatcher.compile", 1),
    "training": ("altgrad_core.running.loop.loop:Loop._backpropagate", 4),
    "evaluating": ("altgrad_core.running.loop.loop:Loop._evaluate", 1),
    "saving": ("altgrad_core.running.state.checkpoint:_write_through", 9),
    "ending": ("altgrad_core.running.session.session:_finish", 1),
    "reporting": ("altgrad_core.experiments.report.write:_write", 1),
    "drawing": ("matplotlib.figure:Figure.savefig", 1),
}
OF_A_REPORT = ("reporting", "drawing")
PAIRS = list(itertools.product(PHASES, SIGNALS))
SMALL = {pair for turn, phase in enumerate(PHASES) for pair in [(phase, SIGNALS[turn % len(SIGNALS)])]}
UNCOMPILED = QUICK.replace('weight = { format = "e4m3" }', 'weight = { format = "e2m5", rounding = "toward-zero" }')


def _sends(phase: str, number: int) -> Callable[[], None]:
    """Something that makes the process send itself a signal in this phase, and so leave a mark that it came there."""

    def arrange() -> None:
        place, call = PHASES[phase]
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        real, calls = getattr(owner, name), itertools.count(1)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            if next(calls) == call:
                Path(os.environ["MARK"]).touch()
                os.kill(os.getpid(), number)
            return real(*arguments, **options)

        setattr(owner, name, wrapped)
        deterministic.rounds.cache_clear()  # another test of this process may have had the kernel compiled
        passes._chosen.cache_clear()

    return arrange


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phases") / "quick.toml"
    path.write_text(UNCOMPILED)
    return path


@pytest.fixture
def whole(manifest: Path, fork: Start) -> dict[str, bytes]:
    """What the run leaves that nobody disturbs."""
    run = manifest.with_name("whole")
    if not (run / "summary.json").exists():
        assert fork("run", manifest, "--out", run).end() == 0
    return _kept(run)


def _kept(run: Path) -> dict[str, bytes]:
    """What is the same in every run of a manifest."""
    return {
        "records": (run / "records.jsonl").read_bytes(),
        **files_in(run / "checkpoints" / "step-8"),
    }


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        pytest.param(*pair, marks=() if pair in SMALL else pytest.mark.slow, id=f"{pair[0]}-{pair[1].name}")
        for pair in PAIRS
    ],
)
def test_a_signal_in_any_phase_loses_nothing(
    phase: str,
    number: signal.Signals,
    manifest: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    fork: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, mark = tmp_path / "run", tmp_path / "mark"
    monkeypatch.setenv("MARK", str(mark))
    command: tuple[object, ...] = ("run", manifest, "--out", run)
    if phase in OF_A_REPORT:
        shutil.copytree(manifest.with_name("whole"), run)
        command = ("report", run)
    one = fork(*command, before=_sends(phase, number))
    if number == signal.SIGSTOP:
        _continue(one)
    code = one.end()
    assert mark.exists(), one.text()
    assert "Traceback" not in one.text(), one.text()
    goes_on = number in (signal.SIGSTOP, signal.SIGPIPE)  # Python ignores SIGPIPE
    codes = {0} if goes_on else {-number} if number in (signal.SIGKILL, signal.SIGHUP) else {-number, 128 + number}
    assert code in codes or (phase == "ending" and code == 0), one.text()
    if phase in OF_A_REPORT:
        assert fork(*command).end() == 0 and (run / "report.html").exists()
    else:
        begun = (run / "resolved.toml").exists()
        last = fork("resume", run) if begun else fork(*command)
        assert last.end() == 0, last.text()
    assert _kept(run) == whole


def _continue(one: Fork) -> None:
    """Wait until it is stopped, and let it go on."""
    is_stopped = os.WSTOPPED | os.WNOWAIT | os.WNOHANG
    wait_for(lambda: os.waitid(os.P_PID, one.pid, is_stopped) is not None or one.is_over())
    time.sleep(0.05)
    one.send(signal.SIGCONT)
