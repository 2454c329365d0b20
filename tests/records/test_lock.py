"""One writer at a time, also where file locks do nothing or fail: in real processes whose `flock` is replaced."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.errors import RunError
from altgrad_core.records import lock
from altgrad_core.records.directory import DirectoryInUse, RunDirectory
from altgrad_core.records.heartbeat import Heartbeat
from altgrad_core.records.lock import Lock

if TYPE_CHECKING:
    from tests.forks import Fork

NO_LOCKS = {
    "does nothing": "fcntl.flock = lambda *given: None",
    "fails": "def fails(*given):\n    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))\nfcntl.flock = fails",
    "is missing": "def fails(*given):\n    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))\nfcntl.flock = fails",
}
SAID = {
    "does nothing": "this file system gives one file lock to two holders",
    "fails": "this file system refuses file locks (No locks available)",
    "is missing": "this file system refuses file locks (Function not implemented)",
}
RACE = """
import sys
from pathlib import Path
from altgrad_core.records.directory import DirectoryInUse, RunDirectory
for _ in sys.stdin:
    directory = RunDirectory(Path(sys.argv[1]))
    try:
        directory.__enter__()
    except DirectoryInUse:
        print("lost", flush=True)
        next(sys.stdin)
    else:
        print("won", flush=True)
        next(sys.stdin)
        directory.__exit__(None, None, None)
"""


@pytest.fixture(params=NO_LOCKS)
def flock(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """How `flock` is broken, in processes with the environment of `broken`."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(f"import errno, fcntl, os\n{NO_LOCKS[request.param]}\n")
    return str(request.param)


def broken(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder / "broken")}


def start(folder: Path, code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, env=broken(folder), text=True)  # type: ignore[call-overload, no-any-return]


def test_of_two_processes_one_gets_the_directory_where_file_locks_do_not_work(flock: str, tmp_path: Path) -> None:
    racers = [start(tmp_path, RACE, tmp_path / "run") for _ in range(2)]
    results = []
    for _ in range(10):
        for racer in racers:
            print(file=racer.stdin, flush=True)
        results.append(sorted(racer.stdout.readline().strip() for racer in racers))  # type: ignore[union-attr]
        for racer in racers:
            print(file=racer.stdin, flush=True)
    for racer in racers:
        assert racer.communicate()[1] == ""
    assert all(result in (["lost", "won"], ["lost", "lost"]) for result in results)
    assert ["lost", "won"] in results


def test_a_run_says_that_file_locks_do_not_work_and_what_guards_it(
    flock: str, tmp_path: Path, tiny: Path, fork: Callable[..., Fork]
) -> None:
    said = fork(
        "run", tiny, "--out", tmp_path / "run", "--steps", "1", before=lambda: exec(f"import errno, fcntl, os\n{NO_LOCKS[flock]}", {})
    )  # fmt: skip
    assert said.end() == 0, said.err
    assert f"{SAID[flock]}; this run is protected by a heartbeat file\n" in said.err


def test_the_lock_of_a_killed_process_of_this_machine_is_free_at_once(flock: str, tmp_path: Path) -> None:
    code = "import os, sys; from pathlib import Path; from altgrad_core.records.lock import Lock\n"
    killed = start(tmp_path, f"{code}assert Lock(Path(sys.argv[1])).acquire(); os._exit(9)", tmp_path / "run.lock")
    assert killed.wait() == 9
    heartbeat = Heartbeat(tmp_path / "run.lock")
    assert heartbeat.acquire()
    heartbeat.release()


def elsewhere(path: Path) -> None:
    """Let the holder of a heartbeat be a process of another machine."""
    path.write_text(json.dumps({"host": f"not-{socket.gethostname()}", "boot": "x", "process": 1, "began": "1"}))


def test_a_holder_on_another_machine_keeps_the_lock_while_it_touches_it(tmp_path: Path) -> None:
    first, second = (Heartbeat(tmp_path / "run.lock", beat=0.05, grace=1.0) for _ in range(2))
    assert first.acquire()
    elsewhere(tmp_path / "run.lock.beat-1")
    time.sleep(1.5)
    assert not second.acquire()
    first.confirm()
    first.release()
    assert second.acquire()
    second.release()


def test_a_holder_that_was_stopped_for_long_loses_the_lock_and_writes_nothing_more(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    stopped, other = (Heartbeat(tmp_path / "run.lock", beat=0.05, grace=0.3) for _ in range(2))
    assert stopped.acquire()
    stopped._ends.set()  # as a process that is stopped touches nothing
    elsewhere(tmp_path / "run.lock.beat-1")
    assert not other.acquire()
    time.sleep(0.5)
    assert other.acquire()
    directory._lock._heartbeat = stopped
    with pytest.raises(RunError, match="another one continues the run; this one ends without writing more"):
        directory.confirm()
    stopped.release()
    other.confirm()
    assert [path.name for path in tmp_path.glob("run.lock.beat-*")] == ["run.lock.beat-2"]
    other.release()


def test_clocks_of_machines_may_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (Heartbeat(tmp_path / "run.lock", beat=0.05, grace=5) for _ in range(2))
    assert first.acquire()
    elsewhere(tmp_path / "run.lock.beat-1")
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine is decades ahead
    assert not second.acquire()
    first.release()


def test_a_file_system_that_keeps_nothing_apart_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: given(path, flags & ~os.O_EXCL, *mode))
    with pytest.raises(
        RunError, match=r"has no file locks, and lets two processes create the same file; choose another"
    ):
        Heartbeat(tmp_path / "run.lock").acquire()


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "lustre"])
def test_a_file_system_that_machines_share_gets_a_heartbeat_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(lock, "_kind_of", lambda directory: kind)
    guard = Lock(tmp_path / "run.lock")
    assert guard.acquire() and not Lock(tmp_path / "run.lock").acquire()
    assert guard.notice == (
        f"whether machines see each other's file locks on {kind} is not known; this run is protected by a heartbeat file as well"
    )
    with pytest.raises(DirectoryInUse):
        RunDirectory(tmp_path).__enter__()
    guard.release()
    assert Lock(tmp_path / "run.lock").acquire()


def test_the_file_system_of_a_directory_is_that_of_its_longest_mount() -> None:
    assert lock._kind_of(Path("/proc/self")) == "proc"


HOLD = """
import sys
from pathlib import Path
from altgrad_core.records.directory import RunDirectory
with RunDirectory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("works", [True, False])
def test_whether_a_lock_is_held_is_known_at_once_and_nothing_is_changed(works: bool, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sitecustomize.py").write_text(
        "" if works else f"import errno, fcntl, os\n{NO_LOCKS['fails']}\n"
    )
    run = tmp_path / "run"
    assert RunDirectory(run).is_held is None
    holder = start(tmp_path, HOLD, run)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert RunDirectory(run).is_held is True
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    holder.kill()
    holder.communicate()
    (run / "run.lock").touch()  # which is there only where file locks work
    assert RunDirectory(run).is_held is False
    with RunDirectory(run):
        assert RunDirectory(run).is_held is True
    assert RunDirectory(run).is_held is False


def test_a_holder_on_another_machine_is_not_known_here(tmp_path: Path) -> None:
    (tmp_path / "run.lock").touch()
    elsewhere(tmp_path / "run.lock.beat-1")
    assert RunDirectory(tmp_path).is_held is None


def test_a_lock_that_is_looked_at_can_be_taken(tmp_path: Path) -> None:
    ends = threading.Event()

    def look() -> None:
        while not ends.wait(0.001):
            lock.is_held(tmp_path / "run.lock")

    (tmp_path / "run.lock").touch()
    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(50):
            taken = Lock(tmp_path / "run.lock")
            assert taken.acquire()
            taken.release()
    finally:
        ends.set()
        looker.join()
