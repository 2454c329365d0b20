"""A run whose processes torchrun starts anew goes on from its checkpoint, with the same bits."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.running.parallel import rendezvous
from altgrad_core.running.state.checkpoint import checkpoint_steps
from tests.parallel.test_command_line import FOUR, children_of
from tests.patience import wait_for

if TYPE_CHECKING:
    from tests.conftest import Said

RESTARTS = "TORCHELASTIC_RESTART_COUNT"
Files = dict[str, bytes]


def bits(run: Path) -> Files:
    (newest, *_) = checkpoint_steps(run / "checkpoints")
    return {"records": (run / "records.jsonl").read_bytes()} | {
        file.name: file.read_bytes() for file in (run / "checkpoints" / f"step-{newest}").iterdir()
    }


def test_a_process_started_anew_goes_on_with_its_run_and_with_no_other(
    tiny: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tiny.with_name("whole"), tiny.with_name("cut")
    assert altgrad("run", tiny, "--out", whole).code == 0
    shutil.copytree(whole, cut)
    (cut / "summary.json").unlink()
    shutil.rmtree(cut / "checkpoints" / "step-6")
    assert "unfinished" in altgrad("run", tiny, "--out", cut).err
    monkeypatch.setenv(RESTARTS, "1")
    other = altgrad("run", tiny, "--steps", 7, "--out", cut)
    assert other.code == 2 and "unfinished" in other.err
    assert altgrad("run", tiny, "--out", cut).code == 0
    assert bits(cut) == bits(whole)


def test_a_process_started_anew_before_the_first_checkpoint_begins_again(
    tiny: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole = tiny.with_name("run"), tiny.with_name("whole")
    assert altgrad("run", tiny, "--out", whole).code == 0
    run.mkdir()
    (run / "resolved.toml").write_bytes((whole / "resolved.toml").read_bytes())
    monkeypatch.setenv(RESTARTS, "1")
    assert altgrad("run", tiny, "--out", run).code == 0
    assert bits(run) == bits(whole)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_torchrun_starts_a_killed_group_anew_and_the_result_is_the_same(
    victim: int, tiny: Path, altgrad: Callable[..., Said]
) -> None:
    out, whole = tiny.with_name("run"), tiny.with_name("whole")
    given = (*FOUR, "--steps", 200, "--set", "run.checkpoint_every=10", "--set", "run.threads=1")
    assert altgrad("run", tiny, *given, "--out", whole).code == 0
    options = ("--nproc-per-node", 2, "--max-restarts", 2, "--standalone", "--local-addr", "127.0.0.1")
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "altgrad_core"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
    torchrun = subprocess.Popen(
        [*map(str, command), *map(str, ("run", tiny, *given, "--out", out))],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for((out / "checkpoints" / "step-20").exists)
    os.kill(children_of(torchrun.pid)[victim], signal.SIGKILL)
    _, said = torchrun.communicate(timeout=120)
    assert torchrun.returncode == 0, said
    assert "SIGKILL" in said or "Signal 9" in said or "-9" in said, said
    assert bits(out) == bits(whole)


@pytest.mark.parametrize(
    ("groups", "restarts", "expected"), [("1", "2", 2), ("2", "2", 0), (None, "2", 0), ("1", None, 0)]
)
def test_an_attempt_has_a_number_where_one_torchrun_alone_counts(
    groups: str | None, restarts: str | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("GROUP_WORLD_SIZE", groups), (RESTARTS, restarts)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert rendezvous.attempt() == expected
