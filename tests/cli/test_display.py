"""What a person sees from the first second on: what is loaded or compiled, and why a search grows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import pytest

from altgrad_core.cli import display
from altgrad_core.cli.display import Lines, Screen, clock
from altgrad_core.cli.progress import shown_on
from altgrad_core.running.session.stages import COMPILING, announced_compilation

if TYPE_CHECKING:
    from tests.conftest import Said


def test_a_pipe_hears_of_what_takes_long_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(display, "PATIENCE", 0.2)
    lines = Lines()
    for what in ("quick", "slow", "slow", None, "quick too", None):
        lines.doing(what)
        time.sleep(0.3 if what == "slow" else 0)
    time.sleep(0.3)
    assert capsys.readouterr().err == "0:00  slow\n"


def test_a_kernel_that_is_compiled_is_told_of_once_with_those_it_calls() -> None:
    told: list[str | None] = []
    inner = numba.njit(lambda x: x + 1)
    outer = numba.njit(lambda x: inner(x) * 2)
    with announced_compilation(told.append):
        assert (outer(1), outer(2)) == (4, 6)
    assert told == [COMPILING, None]


def test_the_stages_of_a_run_come_in_order_before_its_first_step(
    tiny: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(Lines, "doing", lambda self, what: told.append(what))
    monkeypatch.setattr(Lines, "show_line", lambda self, line: told.append(line.split("  ")[0]))
    assert altgrad("run", tiny, "--out", tiny.parent / "run").code == 0
    named = [what for what in told if what not in (None, COMPILING)]
    assert named[:5] == [
        "loading PyTorch and plugins", "loading the data: synthetic", "building the model: nanogpt", "the first step", "step 1/6",
    ]  # fmt: skip


def test_a_frame_tells_the_time_what_is_done_and_how_far_it_is() -> None:
    from altgrad_core.cli.console import Console

    console = Console(width=100, record=True, file=None)
    screen = Screen(console)
    show = shown_on(screen, 40)
    for record in (
        {"kind": "step", "step": 1, "loss": 2.0, "learning_rate": 0.1},
        {"kind": "doing", "what": "compiling"},
    ):
        show(record)
    with console.capture() as captured:
        console.print(screen.frame())
    head, names, values = captured.get().splitlines()
    assert head.split()[0] == "0:00" and "1/40 steps" in head and head.rstrip().endswith("compiling")
    assert (names.split()[:2], values.split()[:2]) == (["loss", "validation"], ["2.0000", "-"])


@pytest.mark.parametrize(("seconds", "told"), [(0, "0:00"), (61.9, "1:01"), (3600, "1:00:00"), (90061, "25:01:01")])
def test_a_time_is_minutes_and_seconds_and_hours_where_there_are_any(seconds: float, told: str) -> None:
    assert clock(seconds) == told
