"""Damaged record files: every sound record is read, everything else is counted and told, for every command."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.results.lines import RecordReader

if TYPE_CHECKING:
    from tests.conftest import Said

STEP = {"kind": "step", "step": 1, "loss": 2.0, "learning_rate": 0.1, "gradient_norm": "NaN"}
READING = {"kind": "reading", "step": 1, "monitor": "m", "reading": "r", "values": {"a": 1.0}}
BROKE = {"kind": "broke", "step": 1, "phase": "forward", "layer": "a", "role": None, "what": "w"}


@pytest.mark.parametrize(
    "line",
    [
        b"{]",
        b"[1]",
        b"",
        b'"step"',
        b'{"kind":1}',
        b'{"kind":"step","step":',
        b'{"kind":"\xff\xfe"}',
        b"[" * 100_000,
        b'{"kind":"step"}',
        json.dumps({**STEP, "step": "x"}).encode(),
        json.dumps({**STEP, "step": -1}).encode(),
        json.dumps({**STEP, "step": True}).encode(),
        json.dumps({**STEP, "loss": None}).encode(),
        json.dumps({**STEP, "loss": 10**400}).encode(),
        json.dumps({**READING, "values": [1.0]}).encode(),
        json.dumps({**READING, "values": {"a": "x"}}).encode(),
        json.dumps({**BROKE, "role": 3}).encode(),
        json.dumps({**BROKE, "phase": None}).encode(),
        json.dumps({"kind": "unknown", "step": "x"}).encode(),
    ],
)
def test_a_line_that_is_no_record_is_counted_and_the_others_are_read(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(json.dumps(STEP).encode() + b"\n" + line + b"\n" + json.dumps(READING).encode() + b"\n")
    reader = RecordReader(path)
    assert list(reader) == [STEP, READING]
    assert reader.problem == "records.jsonl: 1 damaged line is left out (line 2)"
    assert list(reader) == [STEP, READING] and reader.damaged == [2]  # read twice, counted once


def test_a_file_that_is_whole_or_not_there_has_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    reader = RecordReader(path)
    assert (list(reader), reader.problem) == ([], None)
    path.write_text(json.dumps(STEP) + "\n")
    assert (list(reader), reader.problem) == ([STEP], None)


@pytest.fixture
def run(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> Path:
    """A run that has finished."""
    assert altgrad("run", tiny, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


def test_no_command_that_reads_records_fails_on_damaged_ones(run: Path, altgrad: Callable[..., Said]) -> None:
    records = run / "records.jsonl"
    whole, draw = records.read_bytes(), random.Random(0)
    for trial in range(8):
        raw = bytearray(whole)
        for _ in range(5):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        records.write_bytes(bytes(raw[: len(raw) - 10 * trial]))
        for command in (
            ("diagnose", run),
            ("track", run, "--to", "tensorboard"),
            *([("report", run)] if trial == 0 else []),
        ):
            said: Any = altgrad(*command)
            assert (said.code, "Traceback" in said.err) == (0, False), (command, said.err)
            assert command[0] == "report" or "left out" in said.err
