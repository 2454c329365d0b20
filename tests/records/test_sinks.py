"""Trackers and terminals are sinks: they may fail, and the records never notice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.contracts.tracker import Tracker
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.record import read_records
from altgrad_core.records.sinks import Records


class Broken(Tracker):
    """Fails at every record, and when it is closed."""

    def __init__(self) -> None:
        self.calls = 0

    def write(self, record: Mapping[str, Any]) -> None:
        self.calls += 1
        raise ConnectionError("no network")

    def close(self, status: str) -> str | None:
        raise RuntimeError("still no network")


class Polite(Tracker):
    """Keeps what it gets, and says farewell."""

    def __init__(self) -> None:
        self.got: list[Mapping[str, Any]] = []

    def write(self, record: Mapping[str, Any]) -> None:
        self.got.append(record)

    def close(self, status: str) -> str | None:
        return f"ended {status}"


def test_a_tracker_that_fails_is_left_out_after_three_failures_and_the_others_go_on(tmp_path: Path) -> None:
    broken, polite, shown = Broken(), Polite(), []
    directory = RunDirectory(tmp_path)
    records = Records(directory, trackers=[("broken", broken), ("polite", polite)], show=shown.append)
    for step in range(5):
        records.happened({"kind": "step", "step": step})
    records.close("finished")
    failed = {"kind": "warning", "message": "tracker broken failed: ConnectionError: no network"}
    left_out = {**failed, "message": f"{failed['message']}; it is left out from here on"}
    farewells = [
        {"kind": "tracker", "tracker": "broken", "message": "closing failed: RuntimeError: still no network"},
        {"kind": "tracker", "tracker": "polite", "message": "ended finished"},
    ]
    assert list(read_records(directory.records)) == [{"kind": "step", "step": step} for step in range(5)]
    assert list(read_records(directory.clock)) == [failed, failed, left_out, *farewells]
    assert [record for record in shown if record["kind"] == "warning"] == [failed, failed, left_out]
    assert (broken.calls, len(polite.got)) == (3, 7)


def test_closing_on_a_full_disk_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = Records(RunDirectory(tmp_path), trackers=[("polite", Polite())], show=lambda record: None)
    monkeypatch.setattr("altgrad_core.records.sinks.RecordFile.append", _refuse)
    records.close("crashed")


def _refuse(*arguments: object) -> None:
    raise OSError(28, "No space left on device")
