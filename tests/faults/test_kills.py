"""Commands that are killed while they write: what was finished stays as it was, and the next try succeeds."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from altgrad_text import cache

from tests.conftest import TINY
from tests.forks import files_in

if TYPE_CHECKING:
    from tests.forks import Fork

Start = Callable[..., "Fork"]
HOW_OFTEN = [3, pytest.param(60, marks=pytest.mark.slow)]
WRITERS = {
    "report": ("report",),
    "track": ("track", "--to", "tensorboard"),
    "export": ("export", "--out"),
}


@pytest.mark.parametrize("kills", HOW_OFTEN)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_command_killed_while_it_writes_harms_nothing(
    writer: str, kills: int, finished: Path, tmp_path: Path, fork: Start, record_property: Callable[[str, int], None]
) -> None:
    name, *options = WRITERS[writer]
    run, choose = tmp_path / "run", random.Random(kills)
    shutil.copytree(finished, run)
    before = files_in(run)
    command = (name, run, *options, *([tmp_path / "model.safetensors"] if writer == "export" else []))
    began = time.monotonic()
    assert fork(*command).end() == 0
    longest = time.monotonic() - began
    exported = (tmp_path / "model.safetensors").read_bytes() if writer == "export" else b""
    for _ in range(kills):
        fork(*command).end(kill_after=choose.uniform(0, longest))
        assert writer != "export" or (tmp_path / "model.safetensors").read_bytes() == exported
        assert {name: content for name, content in files_in(run).items() if name in before} == before
    one = fork(*command)
    assert one.end() == 0, one.text()
    record_property("tried", kills)


@pytest.mark.parametrize("kills", HOW_OFTEN)
def test_a_cache_of_tokens_killed_while_it_is_written_is_written_anew(
    kills: int,
    tmp_path: Path,
    fork: Start,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, int], None],
) -> None:
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "WORTH_KEEPING", 0.0)
    tokens, choose = np.arange(4_000_000, dtype=np.uint32), random.Random(kills)

    def keep() -> None:
        cache.kept("a", lambda: cache.Encoded(tokens, {"bytes": 3}))

    began = time.monotonic()
    assert fork("--version", before=keep).end() == 0
    longest, expected = time.monotonic() - began, files_in(tmp_path / "cache")["tokens/a.tokens"]
    for _ in range(kills):
        shutil.rmtree(tmp_path / "cache")
        fork("--version", before=keep).end(kill_after=choose.uniform(0, longest))
        assert files_in(tmp_path / "cache").get("tokens/a.tokens", expected) == expected
        assert fork("--version", before=keep).end() == 0
        assert files_in(tmp_path / "cache")["tokens/a.tokens"] == expected
    record_property("tried", kills)


@pytest.mark.parametrize("kills", [3, *(pytest.param(20 + part, marks=pytest.mark.slow) for part in range(4))])
def test_a_run_stopped_continued_hung_up_or_killed_ends_the_same(
    kills: int, finished: Path, tmp_path: Path, fork: Start, record_property: Callable[[str, int], None]
) -> None:
    (tmp_path / "tiny.toml").write_text(TINY.replace("steps = 6", "steps = 8"))
    choose, run = random.Random(kills), tmp_path / "run"
    numbers = [signal.SIGHUP, signal.SIGKILL, signal.SIGPIPE, signal.SIGTERM, signal.SIGINT]
    for attempt in range(kills):
        begun = (run / "resolved.toml").exists()
        if (run / "summary.json").exists():
            assert _weights(run) == _weights(finished)
            shutil.rmtree(run)
            begun = False
        one = fork("resume", run) if begun else fork("run", tmp_path / "tiny.toml", "--out", run)
        time.sleep(choose.uniform(0, 0.8))
        if not one.is_over():
            one.send(signal.SIGSTOP)
            time.sleep(0.02)
            one.send(signal.SIGCONT)
            one.send(numbers[attempt % len(numbers)])
        code = one.end()
        assert "Traceback" not in one.text(), one.text()
        assert code in (0, 2, 130, 143, -signal.SIGHUP, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT), one.text()
    if not (run / "summary.json").exists():
        begun = (run / "resolved.toml").exists()
        last = fork("resume", run) if begun else fork("run", tmp_path / "tiny.toml", "--out", run)
        assert last.end() == 0, last.text()
    assert _weights(run) == _weights(finished)
    record_property("tried", kills)


def _weights(run: Path) -> tuple[bytes, bytes]:
    newest = run / "checkpoints" / "step-8"
    return (newest / "model.safetensors").read_bytes(), (run / "records.jsonl").read_bytes()
