"""The test of the tests: each law of trackers, and a plugin that breaks it."""

from __future__ import annotations

import signal
from typing import Any, ClassVar

import pytest

from altgrad_core import (
    Tracker,
    TrackerSpec,
)
from altgrad_core.testing import (
    check_tracker,
)
from tests.laws.breaches import said


class Sink(Tracker):
    def write(self, record: Any) -> None:
        pass

    def close(self, status: str) -> str | None:
        return None


def tracker_of(tracker: type) -> type[TrackerSpec]:
    class Spec(TrackerSpec):
        """Goes nowhere."""

        name: ClassVar = "nowhere"

        def build(self, run: Any) -> Any:
            return tracker()

    return Spec


class Renames(Sink):
    def write(self, record: Any) -> None:
        record["kind"] = "mine"


class WantsTheMainThread(Sink):
    def __init__(self) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)


class WantsNumbers(Sink):
    def write(self, record: Any) -> None:
        if record["kind"] == "step":
            int(record["loss"])


class SaysTrue(Sink):
    def close(self, status: str) -> Any:
        return True


@pytest.mark.parametrize(
    ("tracker", "breach"),
    [
        (Renames, "'data': {}, 'formats': []}."),
        (WantsTheMainThread, "It raised ValueError: signal only works in main thread of the main interpreter"),
        (WantsNumbers, "It raised ValueError: invalid literal for int() with base 10: 'NaN'"),
        (SaysTrue, "close returned True."),
        (dict, "build returned {}; expected a Tracker."),
    ],
)
def test_a_tracker_with_one_fault_is_caught(tracker: type, breach: str) -> None:
    message = said(check_tracker, tracker_of(tracker))
    assert message.startswith('tracker "nowhere", law: ')
    assert message.endswith(breach)


def test_a_sound_tracker_passes() -> None:
    check_tracker(tracker_of(Sink))
