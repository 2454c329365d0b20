"""A process that trains cells, one after the other: tasks come in as lines of JSON, what happens goes out likewise.

It was spawned, not forked, and ends when its parent does: the parent's end of the pipe closes then, and a run under way
is saved as after SIGTERM.
"""

from __future__ import annotations

import json
import os
import platform
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import tomlkit
import torch

from altgrad_core.contracts.executor import CellTask
from altgrad_core.errors import AltgradError
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.records.directory import DirectoryInUse, RunDirectory
from altgrad_core.records.record import Record, encode_record
from altgrad_core.records.tracker_thread import is_any_stuck
from altgrad_core.registry.registry import Registry, installed
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.outcome import Outcome
from altgrad_core.running.session.session import begin, resume
from altgrad_core.running.session.stages import DOING
from altgrad_core.running.state.checkpoint import checkpoint_steps

Tell = Callable[[Mapping[str, Any]], None]
PACE = 0.2  # seconds between two reports of progress


def main() -> None:
    """Train every requested cell, until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # between runs there is nothing to save
    if hasattr(signal, "pthread_sigmask"):  # a thread that started this process may have blocked them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    with os.fdopen(os.dup(1), "w", buffering=1) as out:
        os.dup2(2, 1)  # what a plugin prints is no message of ours
        tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        is_busy = threading.Event()
        threading.Thread(target=_listen, args=(sys.stdin, tasks, is_busy), daemon=True).start()
        threads = torch.get_num_threads()
        installed()
        while (task := tasks.get()) is not None:
            is_busy.set()
            torch.set_num_threads(threads)  # the last cell may have had its own number
            reply = train_cell(task, lambda message: print(encode_record(message), file=out))
            is_busy.clear()
            print(encode_record(reply), file=out)
    if is_any_stuck():
        os._exit(0)  # the interpreter would wait for whatever a tracker that hangs has started


def _listen(pipe: TextIO, tasks: queue.SimpleQueue[dict[str, Any] | None], is_busy: threading.Event) -> None:
    """Hand on tasks; once the parent is gone, end this process as a signal would."""
    for line in pipe:
        tasks.put(json.loads(line))
    tasks.put(None)
    if is_busy.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


def train_cell(task: CellTask, tell: Callable[[Mapping[str, Any]], None]) -> dict[str, Any]:
    """Train one cell of a study in this process, for an executor.

    Args:
        task: what `Executor.submit` was given.
        tell: receives messages about the progress, as JSON data.

    Returns:
        The last message: its `reply` is `ended`, `interrupted`, `busy` (another process trains the cell) or `failed`.
    """
    began = time.perf_counter()
    study = Path(task["directory"]).parent
    if not study.is_dir():
        message = (
            f"{study}: the directory of the study is not on {platform.node()}; every machine needs it under this path"
        )
        return {"reply": "failed", "message": message}
    try:
        outcome = _train(task, installed(), tell)
    except DirectoryInUse as error:
        return {"reply": "busy", "message": str(error)}
    except (AltgradError, OSError) as error:
        return {"reply": "failed", "message": str(error)}
    if outcome.status == "interrupted":
        return {"reply": "interrupted"}
    _drop_checkpoints(RunDirectory(outcome.directory), keep=task["checkpoints"])
    seconds = round(time.perf_counter() - began, 3)
    return {
        "reply": "ended",
        "status": outcome.ending.status,
        "validation_loss": outcome.ending.summary["validation_loss"],
        "seconds": seconds,
    }


def _train(task: CellTask, registry: Registry, tell: Tell) -> Outcome:
    directory = RunDirectory(Path(task["directory"]))
    show = _paced(tell)
    if directory.is_begun and not task["overwrite"]:
        return resume(directory, registry, strict=False, show=show)
    data = task["data"]
    text = f"# One cell of {task['manifest']}\n\n{tomlkit.dumps(data)}"
    settings = {tuple(location): option for location, option in task["settings"]}
    source = ManifestFile(Path(task["manifest"]), text, data, settings=settings)
    return begin(resolve(source, registry), directory, overwrite=task["overwrite"], show=show)


def _paced(tell: Tell) -> Callable[[Record], None]:
    """Of the records of a run, what its parent wants to know, and not too often."""
    last_report = 0.0

    def show(record: Record) -> None:
        nonlocal last_report
        if record["kind"] == "warning":
            tell({"reply": "warning", "message": record["message"]})
        elif record["kind"] == "tracker":
            tell({"reply": "note", "message": f"{record['tracker']}: {record['message']}"})
        elif record["kind"] == DOING:
            tell({"reply": "doing", "what": record["what"]})
        elif record["kind"] in ("step", "resumed") and time.perf_counter() - last_report >= PACE:
            last_report = time.perf_counter()
            tell({"reply": "step", "step": record["step"], "loss": record.get("loss")})

    return show


def _drop_checkpoints(directory: RunDirectory, *, keep: str) -> None:
    """Of a finished run, keep the last checkpoint, all, or none."""
    if keep == "all":
        return
    for step in checkpoint_steps(directory.checkpoints)[1 if keep == "last" else 0 :]:
        shutil.rmtree(directory.checkpoints / f"step-{step}", ignore_errors=True)


if __name__ == "__main__":
    main()
