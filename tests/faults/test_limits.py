"""Little memory, few files, no room on the disk, no right to write: one message, and what was there stays."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.cli.main import main
from tests.conftest import QUICK, TINY
from tests.forks import files_in

if TYPE_CHECKING:
    from tests.forks import Fork

Start = Callable[..., "Fork"]
NOBODY = 65534
SLOW = {("report", "20 open files"), ("report", "64 MB of memory"), ("report", "files of 2 kB")}
PROGRAM = [folder for place in (Path(__file__), Path(sys.prefix, "bin")) for folder in place.resolve().parents]
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not all(folder.stat().st_mode & 0o005 == 0o005 for folder in PROGRAM),
    reason="only root can become another user, and that one must be able to read the program",
)


def _limited(kind: int, amount: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (amount, resource.getrlimit(kind)[1]))


def _memory_left(amount: int) -> Callable[[], None]:
    """So many bytes more than the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return _limited(resource.RLIMIT_AS, pages * resource.getpagesize() + amount)


LIMITS: dict[str, Callable[[], Callable[[], None]]] = {
    "files of 2 kB": lambda: _limited(resource.RLIMIT_FSIZE, 2_000),
    "files of 40 kB": lambda: _limited(resource.RLIMIT_FSIZE, 40_000),
    "12 open files": lambda: _limited(resource.RLIMIT_NOFILE, 12),
    "20 open files": lambda: _limited(resource.RLIMIT_NOFILE, 20),
    "64 MB of memory": lambda: _memory_left(64 << 20),
}
COMMANDS: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "run": lambda folder, run: ("run", folder / "tiny.toml", "--out", folder / "new"),
    "resume": lambda folder, run: ("resume", folder / "half"),
    "report": lambda folder, run: ("report", run),
    "diagnose": lambda folder, run: ("diagnose", run),
    "track": lambda folder, run: ("track", run, "--to", "tensorboard"),
    "export": lambda folder, run: ("export", run, "--out", folder / "model.safetensors"),
}


def _copied(finished: Path, folder: Path) -> Path:
    (folder / "tiny.toml").write_text(TINY)
    for name in ("run", "half"):
        shutil.copytree(finished, folder / name)
    (folder / "half" / "summary.json").unlink()
    shutil.rmtree(folder / "half" / "checkpoints" / "step-8")
    return folder / "run"


@pytest.mark.parametrize(
    ("command", "limit"),
    [
        pytest.param(command, limit, marks=pytest.mark.slow if (command, limit) in SLOW else ())
        for command in COMMANDS
        for limit in LIMITS
    ],
)
def test_where_something_is_scarce_a_command_ends_with_a_message(
    command: str, limit: str, finished: Path, tmp_path: Path, fork: Start
) -> None:
    run = _copied(finished, tmp_path)
    before = files_in(run)
    one = fork(*COMMANDS[command](tmp_path, run), before=LIMITS[limit]())
    code = one.end()
    assert code in (0, 1, 2), (code, one.text())
    assert "Traceback" not in one.text(), one.text()
    assert code == 0 or "altgrad: " in one.text(), one.text()
    assert {name: content for name, content in files_in(run).items() if name in before} == before


def _nobody(arguments: Iterable[object]) -> None:
    """Become another user, who may be unable to read Python's own files: all that the command imports is imported before."""
    sys.argv = ["altgrad", *map(str, arguments)]
    with suppress(SystemExit):
        main()
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user can read; that of pytest is private."""
    with tempfile.TemporaryDirectory(prefix="altgrad-public-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@as_root
@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_of_another_user_is_read_and_not_written(
    command: str, finished: Path, public: Path, tmp_path: Path, fork: Start
) -> None:
    run = _copied(finished, public)
    for path in public.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    words, warm = COMMANDS[command](public, run), COMMANDS[command](tmp_path, _copied(finished, tmp_path))
    before = files_in(public)
    one = fork(*words, before=lambda: (_nobody(warm), setattr(sys, "argv", ["altgrad", *map(str, words)])))
    code = one.end()
    assert code == (0 if command == "diagnose" else 1), one.text()
    assert "Traceback" not in one.text(), one.text()
    assert command == "diagnose" or ("Permission denied" in one.text() and str(public) in one.text()), one.text()
    assert files_in(public) == before


def test_with_a_strict_umask_all_is_private_and_can_be_continued(tmp_path: Path, finished: Path, fork: Start) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "run"
    private = lambda: os.umask(0o077)  # noqa: E731
    one = fork("run", tmp_path / "tiny.toml", "--out", out, before=private)
    assert one.end() == 0, one.text()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*")}
    assert modes <= {0o600, 0o700, 0o400}
    assert fork("diagnose", out, before=private).end() == 0
    assert fork("resume", out, before=private).end() == 0


@pytest.mark.parametrize("name", ["a\nb", "a b", "ä日本🎈", "x" * 255, "-x", "a\x1b[31m", "a%s{}", "*", "a\udcff"])
def test_a_directory_may_have_any_name(name: str, tmp_path: Path, finished: Path, fork: Start) -> None:
    out = tmp_path / name
    shutil.copytree(finished, out)
    (out / "summary.json").unlink()
    shutil.rmtree(out / "checkpoints" / "step-8")
    for command in ("resume", "diagnose", *(["report"] if {"\n", "\udcff"} & {*name} else [])):
        one = fork(command, out)
        assert (one.end(), "Traceback" in one.text(), "\x1b[31m" in one.text()) == (0, False, False), one.text()


def test_a_name_that_is_too_long_is_refused(tmp_path: Path, finished: Path, fork: Start) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    one = fork("run", tmp_path / "tiny.toml", "--out", tmp_path / ("x" * 256))
    assert (one.end(), one.text().endswith(f"{'x' * 256}: File name too long\n")) == (
        1,
        True,
    ), one.text()


def test_files_from_the_future_change_nothing(tmp_path: Path, finished: Path, fork: Start) -> None:
    run = _copied(finished, tmp_path)
    for path in tmp_path.rglob("*"):
        later = path.stat().st_mtime + 30 * 86_400
        os.utime(path, (later, later))
    half = tmp_path / "half"
    assert fork("resume", half).end() == 0
    assert (half / "records.jsonl").read_bytes() == (run / "records.jsonl").read_bytes()


FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


@pytest.mark.slow
@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
def test_a_clock_that_is_set_back_during_a_run_changes_nothing(tmp_path: Path, finished: Path) -> None:
    """The clock of the machine, for this process, by a library that stands before the C library's."""
    manifest, clock, run = tmp_path / "tiny.toml", tmp_path / "clock", tmp_path / "run"
    manifest.write_text(QUICK.replace("steps = 8", "steps = 400"))
    clock.write_text("+0")
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
    command = [sys.executable, "-m", "altgrad_core", "run", str(manifest), "--out", str(run)]
    with subprocess.Popen(command, env={**os.environ, **faked}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("step 1/" in line for line in process.stderr)
        clock.write_text("-30d")
        said = process.stderr.read()
    assert process.returncode == 0 and "warning" not in said, said
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env={**os.environ, **faked}, check=True, stdout=subprocess.PIPE
    )  # fmt: skip
    assert float(told.stdout) < time.time() - 29 * 86_400  # the process was told another time
    whole = tmp_path / "whole"
    subprocess.run([*command[:-1], str(whole)], check=True, capture_output=True)
    assert (run / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()


@as_root
@pytest.mark.parametrize("command", ["run", "study", "track", "report"])
def test_where_no_process_can_be_started_a_command_says_so(
    command: str, finished: Path, public: Path, tmp_path: Path, fork: Start
) -> None:
    run = _copied(finished, public)
    (public / "tiny.toml").write_text(TINY + '[[tracker]]\nuse = "tensorboard"\n')
    (public / "study.toml").write_text(TINY + '[matrix]\n"run.seed" = [1, 2]\n')
    for path in [public, *public.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    before = files_in(run)
    words = (
        ("run", public / "study.toml", "--out", public / "new")
        if command == "study"
        else COMMANDS[command](public, run)
    )
    warm = COMMANDS["run" if command == "study" else command](tmp_path, _copied(finished, tmp_path))

    def alone() -> None:
        _nobody(warm)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        sys.argv = ["altgrad", *map(str, words)]

    one = fork(*words, before=alone)
    code = one.end()
    assert "Traceback" not in one.text(), one.text()
    assert code == 0 or "altgrad: " in one.text(), (code, one.text())
    assert code in (0, 1), (code, one.text())
    assert {name: content for name, content in files_in(run).items() if name in before} == before


@as_root
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_folder_that_cannot_be_read_does_not_hide_the_others(
    options: tuple[str, ...], finished: Path, public: Path, fork: Start
) -> None:
    shutil.copytree(finished, public / "mine")
    shutil.copytree(finished, public / "secret")
    for path in (public / "mine").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (public / "mine").chmod(0o755)
    (public / "secret").chmod(0o700)
    words = ("runs", public, *options)

    def as_nobody() -> None:
        _nobody(words)
        print("as another user:")
        sys.argv = ["altgrad", *map(str, words)]

    one = fork(*words, before=as_nobody)
    assert one.end() == 0, one.text()
    whole, _, listed = one.out.partition("as another user:")
    assert ("secret" in whole, "mine" in listed, "secret" in listed) == (True, True, False), one.text()
