"""Nothing of AltGrad needs what Windows does not have, unless it looks first."""

from __future__ import annotations

import ast
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from altgrad_core.cli.main import app  # noqa: F401  all commands are loaded before names are taken away
from altgrad_core.errors import RunError
from altgrad_core.files import memory
from altgrad_core.manifest.load import manifest_of
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
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in FILES}
    assert len(texts) > 200
    words = MODULES | NAMES["os"] | NAMES["signal"]
    found = {path: list(needs(ast.parse(text))) for path, text in texts.items() if any(word in text for word in words)}
    assert {path: names for path, names in found.items() if names} == {}


def test_such_needs_are_seen() -> None:
    wrong = "import fcntl\nimport os\n\ndef read(path):\n    return os.open(path, os.O_NONBLOCK)\n"
    assert list(needs(ast.parse(wrong))) == ["import fcntl", "os.O_NONBLOCK"]


class Without:
    """A module without some of its names."""

    def __init__(self, module: ModuleType, names: set[str]) -> None:
        self._module, self._names = module, names

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            raise AttributeError(name)
        return getattr(self._module, name)


@pytest.fixture
def without_unix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loaded module of AltGrad sees `os` and `signal` as Windows has them; other libraries have their own ways."""
    for name, module in list(sys.modules.items()):
        for own in (os, signal):
            if name.startswith("altgrad_") and vars(module).get(own.__name__) is own:
                monkeypatch.setattr(module, own.__name__, Without(own, NAMES[own.__name__]))


@pytest.mark.usefixtures("without_unix")
def test_a_run_trains_and_is_read_without_them(altgrad: Callable[..., Any], tiny: Path) -> None:
    run = tiny.parent / "run"
    assert not hasattr(sys.modules["altgrad_core.files"].os, "O_NONBLOCK")
    assert altgrad("run", tiny, "--out", run, "--steps", "2").code == 0
    assert altgrad("diagnose", run).code == 0
    assert memory() == sys.maxsize


def test_several_processes_are_refused_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "altgrad_core.running.parallel.launch.os", SimpleNamespace(name="nt")
    )  # pathlib reads the real one
    with pytest.raises(RunError, match="--processes does not work on Windows; use Linux, macOS or WSL"):
        launch(["run"], 2, manifest_of({"data": {"accumulate": 2}}))
