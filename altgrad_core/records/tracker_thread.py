"""A thread takes records to one tracker, in a thread of its own: nothing that happens there can hold up the run."""

from __future__ import annotations

import json
import reprlib
import threading
import time
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from altgrad_core.contracts.tracker import PATIENCE, Tracker
from altgrad_core.errors import RunError, reason_of

MOST_FAILURES = 3
MOST_WAITING = 10_000
"""Records that may wait for a tracker; those that come while so many do are left out for it."""
HURRY = 10.0
"""Seconds that a tracker has at most to end where the run was interrupted: who sent the signal is waiting."""
_STUCK = "stuck tracker "


def checked(tracker: object) -> Tracker:
    """What the code of a plugin built.

    Raises:
        RunError: it is no tracker.
    """
    if not isinstance(tracker, Tracker):
        raise RunError(f"build returned {tracker!r}; expected a Tracker")
    return tracker


class TrackerThread:
    """The thread in which a tracker is built, written to and closed; records wait for it in a queue of limited length.

    Args:
        name: of the tracker.
        build: connects it; called in the thread.
        patience: seconds to wait for it to begin, and to end.
    """

    def __init__(self, name: str, build: Callable[[], Tracker], *, patience: float = PATIENCE) -> None:
        self.name, self._patience = name, patience
        self._lines: SimpleQueue[str | bytes | None] = SimpleQueue()
        self._news: SimpleQueue[str] = SimpleQueue()
        self._sent = self._taken = 0
        self._is_behind = self._is_given_up = False
        self._status, self._until = "crashed", time.monotonic()
        self._refusal: BaseException | None = None
        self._farewell: str | None = None
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(build,), name=f"tracker {name}", daemon=True)
        self._thread.start()

    @property
    def missed(self) -> int:
        """Records that were sent, but which the tracker did not take."""
        return self._sent - self._taken

    def begin(self) -> None:
        """Wait until the tracker is connected.

        Raises:
            RunError: it did not begin in time.
            BaseException: whatever building it raised.
        """
        if not self._has_begun.wait(self._patience):
            self.give_up()
            raise RunError(f"it did not begin within {self._patience:g} s")
        if self._refusal is not None:
            raise self._refusal

    def send(self, line: str | bytes) -> None:
        """Leave one line of a record file to be taken to the tracker; never waits."""
        self._sent += 1
        if self._lines.qsize() < MOST_WAITING:
            self._lines.put(line)
        elif not self._is_behind:
            self._is_behind = True
            self._news.put(
                f"tracker {self.name} does not keep up: {MOST_WAITING} records wait for it, more are left out"
            )

    def news(self) -> Iterator[str]:
        """What went wrong since this was last asked."""
        while not self._news.empty():
            yield self._news.get()

    def stop(self, status: str) -> None:
        """No more records come: the tracker takes those that wait, then closes."""
        patience = min(self._patience, HURRY) if status == "interrupted" else self._patience
        self._status, self._until = status, time.monotonic() + patience
        self._lines.put(None)

    def end(self) -> str | None:
        """After `stop`, wait for the tracker to close; the line it says, or what went wrong."""
        self._thread.join(max(0.0, self._until - time.monotonic()))
        if not self._thread.is_alive():
            return self._farewell
        self.give_up()
        return "did not close in time and is left behind"

    def give_up(self) -> None:
        """Let the thread go its own way: it takes no more records, and closes its tracker if it ever comes to it."""
        self._is_given_up = True
        self._thread.name = _STUCK + self.name
        self._lines.put(None)

    def _work(self, build: Callable[[], Tracker]) -> None:
        try:
            tracker = checked(build())
        except BaseException as error:  # code of a plugin, in a thread that has no one else to tell
            self._refusal = error
            return
        finally:
            self._has_begun.set()
        self._deliver(tracker)
        try:
            farewell = tracker.close(self._status)
            self._farewell = (
                farewell if isinstance(farewell, str | None) else f"close returned {reprlib.repr(farewell)}, no text"
            )
        except BaseException as error:  # as above
            self._farewell = f"closing failed: {reason_of(error)}"

    def _deliver(self, tracker: Tracker) -> None:
        """Take every line to the tracker, in order, until there are no more; after some failures, drop them."""
        failures = 0
        while (line := self._lines.get()) is not None and not self._is_given_up:
            if failures == MOST_FAILURES:
                continue
            try:
                tracker.write(json.loads(line))
                self._taken += 1
            except BaseException as error:  # as above
                failures += 1
                end = "; it is left out from here on" if failures == MOST_FAILURES else ""
                self._news.put(f"tracker {self.name} failed: {reason_of(error)}{end}")


def is_any_stuck() -> bool:
    """Whether this process still has the thread of a tracker that was given up, which may never end."""
    return any(thread.name.startswith(_STUCK) for thread in threading.enumerate())
