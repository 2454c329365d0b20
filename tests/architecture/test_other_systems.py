"""Nothing of AltGrad needs what Windows does not have, unless it looks first."""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.cli.main import app  # noqa: F401  all commands are loaded before names are taken away
from altgrad_core.errors import RunError
from altgrad_core.files import memory
from altgrad_core.running.parallel.launch import launch

ROOT = Path(__file__).parents[2]
FILES = sorted([*(ROOT / "altgrad_core").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])
MODULES = {"fcntl", "grp", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"}
NAMES = {
    "os": {
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "fork", "forkpty", "geteuid", "getgid", "getloadavg"),
        *("getpgid", "getpgrp", "getuid", "killpg", "mkfifo", "nice", "sched_getaffinity", "setpgid", "setsid"),
        *("statvfs", "sysconf", "uname", "wait", "WNOHANG"),
    },
    "signal": {
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1"),
        *("SIGUSR2", "SIGWINCH", "alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
    },
}
"""What Python's documentation says is there on Unix alone."""


def needs(tree: ast.AST) -> Iterator[str]:
    """Modules imported at the top of a file, and names used in a function that never asks `hasattr`, which Windows lacks."""
    for node in getattr(tree, "body", ()):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"import {name}" for name in named if name in MODULES)
        elif "hasattr" not in {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}:
            yield from _names(node)


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        is_of_module = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if is_of_module and node.attr in NAMES.get(node.value.id, ()):
            yield f"{node.value.id}.{node.attr}"


def test_no_file_needs_what_windows_lacks() -> None:
    found = {str(path.relative_to(ROOT)): list(needs(ast.parse(path.read_text()))) for path in FILES}
    assert len(found) > 200
    assert {path: names for path, names in found.items() if names} == {}


def test_such_needs_are_seen() -> None:
    wrong = "import fcntl\nimport os\n\ndef read(path):\n    return os.open(path, os.O_NONBLOCK)\n"
    assert list(needs(ast.parse(wrong))) == ["import fcntl", "os.O_NONBLOCK"]


@pytest.fixture
def without_unix(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, names in ((os, NAMES["os"]), (signal, NAMES["signal"])):
        for name in names:
            monkeypatch.delattr(module, name, raising=False)


@pytest.mark.usefixtures("without_unix")
def test_a_run_trains_and_is_reported_without_them(altgrad: Callable[..., Any], tiny: Path) -> None:
    run = tiny.parent / "run"
    assert altgrad("run", tiny, "--out", run, "--steps", "2").code == 0
    assert altgrad("report", run).code == 0
    assert memory() == sys.maxsize


def test_several_processes_are_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altgrad_core.running.parallel.launch.os.name", "nt")
    with pytest.raises(RunError, match="--processes does not work on Windows; use Linux, macOS or WSL"):
        launch(["run"], 2)
