"""Damaged record files: every sound record is read, everything else is counted and told, for every command."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from altgrad_trackers.scalars import scalars

from altgrad_core.experiments.load import load
from altgrad_core.experiments.report.traces import traces
from altgrad_core.records.diagnosis import as_markdown, diagnose
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import encode_record
from altgrad_core.results.lines import RecordReader
from altgrad_core.results.playback import Playback
from altgrad_core.results.run_summary import RunSummary

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
        json.dumps({**STEP, "loss": True}).encode(),
        json.dumps({**STEP, "learning_rates": []}).encode(),
        json.dumps({**STEP, "learning_rates": [10**400]}).encode(),
        json.dumps({**READING, "instance": {}}).encode(),
        json.dumps({**BROKE, "gradient_zeros": "many"}).encode(),
        json.dumps({**BROKE, "layers_without_gradient": [1]}).encode(),
        json.dumps({**BROKE, "what": "\ud800"}).encode(),
        b'{"kind":"unknown","deep":' + b"[" * 500 + b"]" * 500 + b"}",
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


@pytest.mark.parametrize("place", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_waited_for_and_has_no_records(tmp_path: Path, place: str) -> None:
    path = tmp_path / "records.jsonl"
    if place == "pipe":
        os.mkfifo(path)
    elif place == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    reader = RecordReader(path)
    why = "Is a directory" if place == "folder" else "not a regular file"
    assert (list(reader), reader.problem) == ([], f"records.jsonl: cannot be read ({why})")


STRANGE: list[Any] = ["", "x", {}, [], None, -1, 1.5, True, [1], {"a": 1}, "NaN", 10**400, 10**30, [[]], {"": {}}, "\ud800"]  # fmt: skip
EVERY_KIND: list[dict[str, Any]] = [
    {"kind": "began", "name": "n", "steps": 9, "readings": [{"name": "r", "worse": "up", "limit": 1.0, "label": "l"}]},
    {**STEP, "loss": 3.0, "learning_rates": [0.1, 0.2]},
    {**STEP, "step": 2, "loss": 2.0},
    {"kind": "evaluation", "step": 2, "loss": 2.0, "perplexity": 7.0},
    {**READING, "instance": 2},
    {"kind": "monitor-failed", "step": 2, "monitor": "m", "reason": "r"},
    {"kind": "action", "step": 2, "intervention": "i", "action": "Warn", "because": "b", "layer": "a"},
    {"kind": "overruled", "step": 2, "intervention": "i", "action": "Warn", "because": "b", "layer": "a"},
    {**BROKE, "step": 2, "gradient_zeros": 0.5, "layers_without_gradient": ["a"]},
    {"kind": "ended", "step": 2, "status": "diverged", "reason": "r"},
]


def strange_values(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record with each value in it, and each key, once for every strange value."""
    for key, value in record.items():
        yield {other: kept for other, kept in record.items() if other != key}
        yield from ({**record, key: strange} for strange in STRANGE)
        inner = value[0] if isinstance(value, list) else value
        if isinstance(inner, dict):
            changed = [{**inner, name: strange} for name in inner for strange in STRANGE]
            yield from ({**record, key: [each] if isinstance(value, list) else each} for each in changed)


def test_a_wrong_type_anywhere_in_a_record_is_told_or_read_and_never_fails(tmp_path: Path) -> None:
    path, tried = tmp_path / "records.jsonl", 0
    for at, record in enumerate(EVERY_KIND):
        for damaged in strange_values(record):
            lines = [*EVERY_KIND[:at], damaged, *EVERY_KIND[at + 1 :]]
            path.write_text("".join(json.dumps(each) + "\n" for each in lines))
            found = diagnose(RecordReader(path))
            summary = RunSummary.of(path)
            played = Playback(RunDirectory(tmp_path))
            assert len(list(played)) == len(lines) - len(RecordReader(path).damaged or played.problems)
            assert all(isinstance(scalars(each), dict) for each in RecordReader(path))
            as_markdown(found).encode(), encode_record(found.plain()).encode()
            assert traces(RecordReader(path), ["r"]).keys() <= summary.readings.keys()
            tried += 1
    assert tried > 700


@pytest.fixture
def run(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> Path:
    """A run that has finished."""
    assert altgrad("run", tiny, "--out", tmp_path / "run").code == 0
    return tmp_path / "run"


@pytest.mark.parametrize("command", ["diagnose", "report", "track", "load"])
def test_no_command_waits_for_a_pipe_in_place_of_records(run: Path, altgrad: Callable[..., Said], command: str) -> None:
    (run / "records.jsonl").unlink()
    os.mkfifo(run / "records.jsonl")
    if command == "load":
        loaded = load(run)
        assert "run: records.jsonl: cannot be read (not a regular file)" in loaded.problems
        return
    said = altgrad(command, run, *(("--to", "tensorboard") if command == "track" else ()))
    assert said.code == (1 if command == "diagnose" else 0)
    told = {
        "diagnose": f"{run}/records.jsonl: cannot be read (not a regular file); restore the file of the run",
        "report": "run: records.jsonl: cannot be read (not a regular file)",
        "track": "records.jsonl: cannot be read (not a regular file)",
    }
    page = (run / "report.html").read_text() if command == "report" else ""
    assert told[command] in said.err + page


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
