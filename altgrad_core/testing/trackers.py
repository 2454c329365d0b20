"""The laws of a tracker, tried on one record of every kind."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from altgrad_core.contracts.tracker import TrackedRun, Tracker, TrackerSpec
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import changed, generators

RECORDS: tuple[dict[str, Any], ...] = (
    {"kind": "began", "name": "tiny", "seed": 7, "steps": 3, "parameters": 1000, "data": {}, "formats": []},
    {"kind": "step", "step": 1, "loss": 2.5, "learning_rate": 0.1, "gradient_norm": 1.0, "epoch": 0.1},
    {"kind": "step", "step": 2, "loss": "NaN", "learning_rate": 0.1, "gradient_norm": "Infinity", "epoch": 0.2},
    {"kind": "reading", "step": 2, "monitor": "flips", "reading": "flip-rate", "values": {"blocks.0": 0.5, "*": 1}},
    {"kind": "monitor-failed", "step": 2, "monitor": "flips", "reason": "KeyError: 'x'"},
    {"kind": "action", "step": 2, "intervention": "guard", "action": "Stop", "because": "enough"},
    {"kind": "evaluation", "step": 3, "loss": 2.0, "perplexity": 7.4},
    {"kind": "clock", "step": 3, "seconds": 1.5, "tokens_per_second": 900.0},
    {"kind": "warning", "message": "the disk is nearly full"},
    {"kind": "ended", "status": "finished", "reason": None, "step": 3, "loss": 2.0, "validation_loss": None},
    {"kind": "of a later version", "anything": [1, {"x": None}]},
)


def check_tracker(tracker: type[TrackerSpec] | TrackerSpec, **options: Any) -> None:
    """Try every law of a tracker, in a temporary directory. Give options that keep it off the network.

    Args:
        tracker: the spec's class, or an instance of it.
        options: those it is made with.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    spec = made(tracker, options, kind="tracker")
    check_laws(title(spec, "tracker"), LAWS, spec)


def every_record_is_taken(spec: TrackerSpec) -> Iterator[str]:
    """It takes every kind of record, unknown ones and numbers written as "NaN" too, and close returns a line or None."""
    for status in ("finished", "crashed"):
        with tempfile.TemporaryDirectory() as folder:
            tracker = spec.build(_facts(folder))
            if not isinstance(tracker, Tracker):
                yield f"build returned {tracker!r}; expected a Tracker."
                return
            for record in RECORDS:
                tracker.write(copy.deepcopy(record))
            farewell = tracker.close(status)
        if farewell is not None and not isinstance(farewell, str):
            yield f"close returned {farewell!r}."


def records_are_left_alone(spec: TrackerSpec) -> Iterator[str]:
    """It changes no record, and moves no shared random generator."""
    before = generators()
    with tempfile.TemporaryDirectory() as folder:
        tracker = spec.build(_facts(folder))
        for record in RECORDS:
            shown = copy.deepcopy(record)
            tracker.write(shown)
            if shown != record:
                yield f"{record} became {shown}."
        tracker.close("finished")
    yield from (f"It moved {name}." for name in changed(before, generators()))


def nothing_written_can_be_closed(spec: TrackerSpec) -> Iterator[str]:
    """It can be closed before any record came."""
    with tempfile.TemporaryDirectory() as folder:
        spec.build(_facts(folder)).close("crashed")
    yield from ()


def it_works_in_a_thread(spec: TrackerSpec) -> Iterator[str]:
    """It can be built, written to and closed in a thread that is not the main one, as runs do it."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(_use, spec, folder).result()
    yield from ()


LAWS: tuple[Law, ...] = (
    *OPTION_LAWS,
    every_record_is_taken,
    records_are_left_alone,
    nothing_written_can_be_closed,
    it_works_in_a_thread,
)


def _use(spec: TrackerSpec, folder: str) -> None:
    tracker = spec.build(_facts(folder))
    for record in RECORDS:
        tracker.write(copy.deepcopy(record))
    tracker.close("finished")


def _facts(folder: str) -> TrackedRun:
    manifest = {"run": {"name": "tiny", "seed": 7, "steps": 3}}
    return TrackedRun("tiny", Path(folder), manifest, group="study", tags=("e4m3", "adamw"))
