"""A disk that is full or broken: one clear message, what was saved stays saved, and the run can go on."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.records import files as whole_files
from altgrad_core.records.record import RecordFile
from altgrad_core.running.state import checkpoint

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs

SAYS = {errno.ENOSPC: "No space left on device", errno.EIO: "Input/output error"}
REMEDY = {errno.ENOSPC: "Free some space", errno.EIO: "Put that right"}
both = pytest.mark.parametrize("number", SAYS, ids=errno.errorcode.get)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the disk refuse checkpoints of some steps, in the middle of their third file."""
    honest = checkpoint._write_through

    def refuse(number: int, *steps: int) -> None:
        def write(path: Path, content: bytes) -> None:
            if path.parent.name in {f"step-{step}.tmp" for step in steps} and path.name == "plan.json":
                path.write_bytes(content[:5])
                raise OSError(number, os.strerror(number))
            honest(path, content)

        monkeypatch.setattr(checkpoint, "_write_through", write)

    return refuse


def _listed(runs: Runs) -> list[str]:
    return sorted(path.name for path in (runs.folder / "run" / "checkpoints").iterdir())


@both
def test_a_checkpoint_that_cannot_be_written_costs_a_warning_and_the_run_goes_on(
    number: int, runs: Runs, disk: Callable[..., None]
) -> None:
    runs.begin("whole")
    disk(number, 15, 18)
    assert runs.begin().status == "finished"
    warnings = [record["message"] for record in runs.clock() if record["kind"] == "warning"]
    where = runs.folder / "run" / "checkpoints"
    assert warnings == [
        f"{where}: the checkpoint of step {step} could not be written: {SAYS[number]}; the run goes on and tries again"
        for step in (15, 18)
    ]
    assert _listed(runs) == ["step-12", "step-20"]
    assert runs.result() == runs.result("whole")


@both
def test_after_three_failures_in_a_row_it_stops_and_can_be_resumed(
    number: int, runs: Runs, disk: Callable[..., None], altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.begin("whole")
    with monkeypatch.context():
        disk(number, 9, 12, 15)
        said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        f"altgrad: {runs.folder}/run/checkpoints: the checkpoint of step 15 could not be written: {SAYS[number]}; "
        f"3 failures in a row. What was saved before is kept. {REMEDY[number]}, then: altgrad resume {runs.folder}/run"
    )
    assert "Traceback" not in said.err
    assert _listed(runs) == ["step-3", "step-6"]
    monkeypatch.undo()
    assert runs.resume().status == "finished"
    assert runs.result() == runs.result("whole")


@pytest.mark.parametrize("step", [0, 20])
def test_without_the_first_or_the_last_checkpoint_there_is_no_run(
    step: int, runs: Runs, disk: Callable[..., None], altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(errno.ENOSPC, step)
    said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert (said.code, said.err.splitlines()[-1]) == (
        1,
        f"altgrad: {runs.folder}/run/checkpoints: the checkpoint of step {step} could not be written: No space left on "
        f"device. What was saved before is kept. Free some space, then: altgrad resume {runs.folder}/run",
    )
    assert not (runs.folder / "run" / "summary.json").exists()
    monkeypatch.undo()
    assert runs.resume().status == "finished"


def test_interrupted_where_nothing_can_be_saved_it_does_not_say_that_it_was(
    runs: Runs, disk: Callable[..., None]
) -> None:
    from altgrad_core.errors import RunError

    disk(errno.ENOSPC, 7)
    with pytest.raises(RunError, match="the checkpoint of step 7 could not be written: No space left on device"):
        runs.begin(at=7)
    assert runs.steps() == [6, 3]


@both
@pytest.mark.parametrize("name", ["records.jsonl", "clock.jsonl"])
def test_records_that_cannot_be_written_end_the_run_which_can_be_resumed(
    number: int, name: str, runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.begin("whole")
    with monkeypatch.context() as patch:
        _break_records(patch, name, number)
        said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert said.code == 1
    assert said.err.splitlines()[-1] == (
        f"altgrad: {runs.folder}/run/{name}: {SAYS[number]}. What was saved before is kept. "
        f"{REMEDY[number]}, then: altgrad resume {runs.folder}/run"
    )
    assert "Traceback" not in said.err
    assert runs.resume().status == "finished"
    assert runs.result() == runs.result("whole")


class _Full:
    """A file on a disk that is full after so many bytes, and says so again when it is closed."""

    def __init__(self, file: Any, room: int, number: int) -> None:
        self._file, self._room, self._number, self._held = file, room, number, 0

    def write(self, raw: bytes) -> None:
        kept = raw[: max(0, self._room)]
        self._room -= len(raw)
        self._file.write(kept)

    def flush(self) -> None:
        self._file.flush()
        if self._room < 0:
            raise OSError(self._number, os.strerror(self._number))

    def close(self) -> None:
        self._file.close()
        self.flush() if not self._file.closed else None
        if self._room < 0:
            raise OSError(self._number, os.strerror(self._number))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _break_records(patch: pytest.MonkeyPatch, name: str, number: int) -> None:
    honest = RecordFile.__init__

    def begin(self: RecordFile, path: Path, **options: bool) -> None:
        honest(self, path, **options)
        if path.name == name:
            self._file = _Full(self._file, 1800, number)  # type: ignore[assignment]

    patch.setattr(RecordFile, "__init__", begin)


@both
@pytest.mark.parametrize("name", ["manifest.toml", "env.json", "resolved.toml", "summary.json"])
def test_a_file_that_is_whole_or_not_there_ends_the_run_with_a_message(
    number: int, name: str, runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(f".{name}"):
            raise OSError(number, os.strerror(number))
        honest(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(whole_files.os, "fsync", fsync)
        said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith(f"altgrad: {runs.folder}/run/{name}: {SAYS[number]}")
    assert "Traceback" not in said.err
    assert not list((runs.folder / "run").glob(".*"))
    again = altgrad("resume" if name == "summary.json" else "run", *_again(runs, name))
    assert again.code == 0


def _again(runs: Runs, name: str) -> list[object]:
    run = runs.folder / "run"
    return [run] if name == "summary.json" else [runs.manifest(), "--out", run]


def test_a_disk_too_small_for_the_checkpoints_is_refused_before_the_first_step(
    runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 200_000, 200_000))
    said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert (said.code, said.err) == (
        1,
        f"altgrad: {runs.folder}/run: 0.2 MB free, but 3 checkpoints need about 0.3 MB; "
        "free some space, or choose another disk with --out\n",
    )
    assert runs.records() == []


def test_a_run_whose_checkpoints_are_there_already_needs_room_for_one_more(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    runs.begin(at=7)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 200_000, 200_000))
    assert runs.resume().status == "finished"


def test_a_terminal_that_is_gone_does_not_end_the_run(runs: Runs) -> None:
    told = []

    def show(record: Any) -> None:
        told.append(record)
        if record["kind"] == "step":
            raise OSError(errno.EIO, "Input/output error")

    assert runs.begin(show=show).status == "finished"
    assert [record["kind"] for record in told].count("step") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    place = tmp_path / "small"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_on_a_disk_that_is_really_full_nothing_is_lost(
    small_disk: Path, runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.begin("whole")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("usage", "total used free")(10**9, 0, 10**9))
    run = small_disk / "run"
    runs.begin(str(run), at=4)
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(b"0" * ((room.f_bavail - 1) * room.f_frsize))
    said = altgrad("resume", run)
    assert said.code == 1
    assert said.err.count("No space left on device") >= 1
    assert "Traceback" not in said.err
    assert f"Free some space, then: altgrad resume {run}" in said.err.splitlines()[-1]
    assert not list(run.glob("checkpoints/*.tmp"))
    (small_disk / "ballast").unlink()
    assert altgrad("resume", run).code == 0
    assert runs.result(str(run)) == runs.result("whole")
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_does_not_sync_directories_is_warned_of_once(
    number: int, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        assert runs.begin().status == "finished"
    told = f"the file system does not sync directories ({os.strerror(number)}): after a power cut the newest checkpoint may be missing"
    assert [str(warning.message) for warning in caught] == [told]
