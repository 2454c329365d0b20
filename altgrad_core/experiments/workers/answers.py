"""What an executor answers, code of a plugin, or the message that says what it should have been."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from altgrad_core.contracts.executor import Executor
from altgrad_core.errors import PluginError


def capacity_of(executor: Executor, *, is_busy: bool) -> int:
    """How many jobs it runs at a time; for a while it may be none, where some are running.

    Raises:
        PluginError: it is no such number.
    """
    capacity: object = executor.capacity
    if not isinstance(capacity, int) or (capacity < 1 and not is_busy):
        raise PluginError(f"the executor has a capacity of {capacity!r}; expected a whole number, 1 or more")
    return capacity


def reply_of(message: Any) -> Mapping[str, Any] | None:
    """What a job told, or that it told nothing that a cell tells."""
    if message is None or (isinstance(message, Mapping) and "reply" in message):
        return message
    return {"reply": "failed", "message": f"its executor told {reprlib.repr(message)}, which is no reply of a cell"}
