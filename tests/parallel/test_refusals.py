"""What several processes cannot do is said in one line before anything is started or written."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.running.parallel import rendezvous

if TYPE_CHECKING:
    from tests.conftest import Said

USED = "(torchrun and altgrad run --processes set it; unset WORLD_SIZE for a run on one process)"
TWO = {"WORLD_SIZE": "2", "RANK": "1"}
STUDY = "[matrix]\nrun.seed = [1, 2]\n"


@pytest.mark.parametrize(
    ("processes", "said"),
    [
        (2, "data.accumulate: is 1, which 2 processes cannot share equally; expected a multiple of 2, such as "),
        (1000, "data.accumulate: is 1, which 1000 processes cannot share equally; expected a multiple of 1000"),
        (0, "greater than or equal to 1"),
        (-1, "greater than or equal to 1"),
    ],
)
def test_a_number_of_processes_that_cannot_be(
    processes: int, said: str, tiny: Path, altgrad: Callable[..., Said]
) -> None:
    told = altgrad("run", tiny, "--processes", processes, "--out", tiny.with_name("run"))
    assert (told.code, said in told.err) == (2, True), told.err
    assert not tiny.with_name("run").exists()


def test_a_study_is_not_trained_by_several_processes(tiny: Path, altgrad: Callable[..., Said]) -> None:
    tiny.write_text(tiny.read_text() + STUDY)
    told = altgrad("run", tiny, "--processes", 2, "--out", tiny.with_name("run"))
    assert (told.code, "for the cells of a [matrix], use --jobs" in told.err) == (2, True), told.err
    assert not tiny.with_name("run").exists()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WORLD_SIZE": "two"}, f'WORLD_SIZE: is "two"; expected a whole number from 1 to 2147483648 {USED}'),
        ({"WORLD_SIZE": "2"}, f"RANK: is missing, and WORLD_SIZE is 2 {USED}"),
        ({"WORLD_SIZE": "2", "RANK": "5"}, f"RANK: is 5, and WORLD_SIZE is 2; expected a number below it {USED}"),
        (TWO, f"MASTER_ADDR: is missing, and WORLD_SIZE is 2 {USED}"),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "no-such-host.invalid", "MASTER_PORT": "29500"},
            "MASTER_ADDR: no machine no-such-host.invalid is known here: ",
        ),
        (
            {**TWO, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "99999"},
            f'MASTER_PORT: is "99999"; expected a whole number from 1 to 65535 {USED}',
        ),
    ],
)
def test_an_environment_in_which_processes_cannot_meet(
    environment: Mapping[str, str],
    said: str,
    tiny: Path,
    altgrad: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT", rendezvous.FILE):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told = altgrad("run", tiny, "--out", tiny.with_name("run"))
    assert (told.code, said in told.err) == (2, True), told.err
    assert not tiny.with_name("run").exists()


def test_a_process_0_that_does_not_answer_in_time(
    tiny: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:  # bound, and not listening: connections are refused
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        for name, value in {**TWO, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv(rendezvous.FILE, raising=False)
        monkeypatch.setattr(rendezvous, "QUIET", 0.1)
        monkeypatch.setattr(rendezvous, "PATIENCE", 0.5)
        told = altgrad("run", tiny, "--out", tiny.with_name("run"))
    assert told.code == 2
    assert f"altgrad: waiting for process 0 at 127.0.0.1:{port}, 0.5 s at most" in told.err
    assert f"process 0 cannot be reached at 127.0.0.1:{port}: [Errno 111] Connection refused; is it running" in told.err
    assert not tiny.with_name("run").exists()
