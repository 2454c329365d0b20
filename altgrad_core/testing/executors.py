"""The laws of an executor, tried on a cell that cannot be trained: what it trains is tested where studies are."""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from altgrad_core.contracts.executor import LAST, Executor, ExecutorSpec, Job
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title

PATIENCE = 120.0
"""Seconds that a task may take, the start of processes included."""


def check_executor(executor: type[ExecutorSpec] | ExecutorSpec, **options: Any) -> None:
    """Try every law of an executor. Give options that keep it on this machine.

    Args:
        executor: the spec's class, or an instance of it.
        options: those it is made with.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    spec = made(executor, options, kind="executor")
    check_laws(title(spec, "executor"), LAWS, spec)


def it_says_how_many_jobs_it_takes(spec: ExecutorSpec) -> Iterator[str]:
    """What it builds is an Executor with a capacity of one or more, and closes without ever having had a job."""
    executor = spec.build(1)
    if not isinstance(executor, Executor):
        yield f"build returned {executor!r}; expected an Executor."
        return
    if executor.capacity < 1:
        yield f"Its capacity is {executor.capacity}; expected 1 or more."
    executor.close()


def a_task_that_fails_says_so(spec: ExecutorSpec) -> Iterator[str]:
    """`submit` returns a Job at once; the last message of a task that cannot be trained is its failure, and then it is still."""
    with tempfile.TemporaryDirectory() as folder:
        executor, messages = spec.build(1), queue.SimpleQueue[Mapping[str, Any] | None]()
        try:
            for _ in range(2):  # an executor is good for more than one
                job = executor.submit(_task(Path(folder)), messages.put)
                if not isinstance(job, Job):
                    yield f"submit returned {job!r}; expected a Job."
                    return
                last = _last_of(messages)
                if last is None or last.get("reply") != "failed":
                    yield f'It ended with {last!r}; expected a message with the reply "failed".'
                    return
        finally:
            executor.close()
        if not messages.empty():
            yield f"It said {messages.get()!r} after its last message."


def _last_of(messages: queue.SimpleQueue[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """Wait for the last message of a job."""
    until = time.monotonic() + PATIENCE
    while True:
        message = messages.get(timeout=max(0.1, until - time.monotonic()))
        if message is None or message.get("reply") in LAST:
            return message


def _task(folder: Path) -> dict[str, Any]:
    """A cell whose model does not exist."""
    data = {
        "run": {"name": "cell", "steps": 1},
        "model": {"use": "no_such_package:model"},
        "data": {"use": "no-such-data"},
        "optimizer": {"use": "no-such-optimizer", "lr": 0.1},
    }
    return {
        "settings": [],
        "manifest": str(folder / "study.toml"),
        "data": data,
        "directory": str(folder / "cell"),
        "overwrite": False,
        "checkpoints": "last",
    }


LAWS: tuple[Law, ...] = (*OPTION_LAWS, it_says_how_many_jobs_it_takes, a_task_that_fails_says_so)
