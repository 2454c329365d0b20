"""Where the cells of a study are trained is a choice, and changes nothing of the result."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from altgrad_core.contracts import hookspecs
from altgrad_core.contracts.executor import Executor
from altgrad_core.errors import PluginError
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.experiments.matrix.endings import directory_of
from altgrad_core.experiments.workers.choice import executor_of
from altgrad_core.experiments.workers.scheduler import train_cells
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.discover import discover
from altgrad_core.registry.registry import Registry, installed
from tests.experiments.commands import truth, written

if TYPE_CHECKING:
    from tests.conftest import Said

TWO = "[matrix]\nrun.seed = [1, 2]\n"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """What is installed, and the executor that the documentation of the hook shows."""
    (block,) = re.findall(r"```python\n(.*?)```", inspect.getdoc(hookspecs.altgrad_executors) or "", flags=re.DOTALL)
    (tmp_path / "in_a_thread.py").write_text(dedent(block))
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry([*installed().plugins, *discover([EntryPoint("thread", "in_a_thread", "altgrad")])])


def test_an_executor_from_outside_trains_the_same_cells(
    registry: Registry, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    source = load_manifest(written(tmp_path, TWO), ('executor.use="thread"',))
    matrix, out = Matrix(source, registry, most=10), tmp_path / "out"
    executor = executor_of(source, registry, jobs=1)
    tally = train_cells(matrix, out, executor=executor, overwrite=False, show=lambda board, line: None)
    executor.close()
    assert (tally.exit_code, dict(tally.board.ended)) == (0, {"finished": 2})
    assert altgrad("run", source.path, "--executor", "local", "--out", tmp_path / "local").code == 0
    for cell in matrix.cells({}):
        assert truth(directory_of(cell, out).path) == truth(directory_of(cell, tmp_path / "local").path)


BROKEN = """
from altgrad_core import Executor, ExecutorSpec, hookimpl


class Refusing(Executor):
    capacity = 1
    close = lambda self: None

    def submit(self, task, tell):
        raise OSError("no room")


class Broken(ExecutorSpec):
    "Is wrong in one of several ways."

    name = "broken"
    way: str = "nothing"

    def build(self, jobs):
        if self.way in ("none", "two", "tells"):
            return Odd(self.way)
        return None if self.way == "nothing" else Refusing() if self.way == "submit" else 1 / 0


class Odd(Refusing):
    def __init__(self, way):
        self.capacity = {"none": 0, "two": "2", "tells": 1}[way]

    def submit(self, task, tell):
        tell(["garbage"])


@hookimpl
def altgrad_executors():
    yield Broken
"""


def test_a_broken_executor_is_an_error_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_executor.py").write_text(BROKEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = Registry([*installed().plugins, *discover([EntryPoint("broken", "broken_executor", "altgrad")])])

    def of(way: str) -> Executor:
        source = load_manifest(written(tmp_path, TWO), ('executor.use="broken"', f'executor.way="{way}"'))
        return executor_of(source, registry, jobs=1)

    for way, told in (
        ("nothing", "build returned None; expected an Executor"),
        ("zero", "build failed: ZeroDivisionError: division by zero (broken_executor.py, line 22)"),
    ):
        with pytest.raises(PluginError, match=re.escape(f'executor "broken": {told}')):
            of(way)
    matrix = Matrix(load_manifest(tmp_path / "study.toml"), registry, most=10)
    out = train_cells(matrix, tmp_path / "out", executor=of("submit"), overwrite=False, show=lambda board, line: None)
    told = "its executor could not start it: OSError: no room (broken_executor.py, line 10)"
    assert (out.exit_code, set(out.failed.values()), len(out.failed)) == (3, {told}, 2)

    for way, told in (("none", "0"), ("two", "'2'")):
        with pytest.raises(
            PluginError, match=f"the executor has a capacity of {told}; expected a whole number, 1 or more"
        ):
            train_cells(matrix, tmp_path / way, executor=of(way), overwrite=False, show=lambda board, line: None)
    out = train_cells(matrix, tmp_path / "tells", executor=of("tells"), overwrite=False, show=lambda board, line: None)
    assert set(out.failed.values()) == {"its executor told ['garbage'], which is no reply of a cell"}


def test_an_unknown_executor_is_named_with_those_there_are(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    told = altgrad("run", written(tmp_path, TWO), "--executor", "locale", "--out", tmp_path / "out")
    assert told.code == 2
    assert 'no executor "locale"' in told.err and 'did you mean "local"?' in told.err
    assert not (tmp_path / "out").exists()


def test_a_single_run_has_no_executor(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    told = altgrad("run", tiny, "--executor", "local", "--out", tmp_path / "out")
    assert told.code == 2
    assert "executor: trains the cells of a study; this manifest has no [matrix]" in told.err


@pytest.mark.parametrize("command", [("check",), ("run", "--dry-run")])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--executor", "locale"), '--executor: executor.use: no executor "locale"; did you mean "local"?'),
        (("--set", 'executor={use="local", speed=3}'), 'executor.speed: local has no option "speed"'),
    ],
)
def test_an_executor_is_looked_up_before_anything_is_trained(
    command: tuple[str, ...], options: tuple[str, ...], said: str, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    told = altgrad(*command, written(tmp_path, TWO), *options)
    assert told.code == 2 and said in told.err


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("run", "--jobs", "3"), "--jobs"),
        (("run", "--max-cells", "1"), "--max-cells"),
        (("run", "--processes", "2", "--jobs", "1"), "--jobs"),
        (("check", "--max-cells", "1"), "--max-cells"),
    ],
)
def test_options_of_a_study_are_refused_where_there_is_no_matrix(
    command: tuple[str, ...], option: str, tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    place = ("--out", tmp_path / "out") if command[0] == "run" else ()
    told = altgrad(command[0], tiny, *place, *command[1:])
    why = f"is for the cells of a study; {tiny} has no [matrix]; add one, or leave out {option}"
    assert (told.code, told.out, told.err) == (2, "", f"altgrad: {option}: {why}\n")
    assert not (tmp_path / "out").exists()
