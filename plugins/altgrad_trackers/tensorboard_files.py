"""TensorBoard: one event file for each run."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from altgrad_core import PluginError, TrackedRun, Tracker
from altgrad_trackers.hyperparameters import hyperparameters
from altgrad_trackers.scalars import by_layer, scalars
from altgrad_trackers.tables import is_due

METRICS = ("val/loss", "train/loss")  # beside the hyper-parameters in the tab HParams


class TensorBoardFiles(Tracker):
    """Writes the hyper-parameters, the main numbers as scalars, and now and then the values of all layers as text."""

    def __init__(self, run: TrackedRun) -> None:
        self._directory = run.directory / "tensorboard"
        self._file = EventFile(self._directory)
        self._taken: Counter[str] = Counter()
        self._waiting: dict[str, tuple[int, dict[str, float]]] = {}
        self._manifest: dict[str, str] = {"manifest": _as_code(run.manifest)}
        self._hyperparameters = hyperparameters(run.manifest)

    def write(self, record: Mapping[str, Any]) -> None:
        """Add the main numbers of one record, and the table of its reading if that is due."""
        numbers, reading = scalars(record), record.get("reading", "")
        if values := by_layer(record):
            self._taken[reading] += 1
            self._waiting[reading] = (record["step"], values)
        if numbers:
            if self._manifest:
                self._file.begin(record["step"])
                self._file.describe(self._hyperparameters, METRICS)
            is_table_due = bool(values) and is_due(self._taken[reading])
            texts = {**self._manifest, **(self._table(reading) if is_table_due else {})}
            self._file.add(record["step"], numbers, texts)
            self._manifest = {}

    def close(self, status: str) -> str:
        """Finish the file; how to look at it."""
        for reading in sorted(self._waiting):
            self._file.add(self._waiting[reading][0], {}, self._table(reading))
        if status == "finished":
            self._file.end()
        self._file.close()
        return f"tensorboard --logdir {shlex.quote(str(self._directory))}"

    def _table(self, reading: str) -> dict[str, str]:
        _, values = self._waiting.pop(reading)
        return {f"layers/{reading}": _as_table(values)}


class EventFile:
    """A file of events as TensorBoard reads them, written at once: torch's writer would fail in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog
            from tensorboard.compat.proto.summary_pb2 import Summary
            from torch.utils.tensorboard import RecordWriter
            from torch.utils.tensorboard.summary import hparams, scalar, text
        except ImportError as error:
            raise PluginError(
                f'tracker "tensorboard": {error}; install it with: pip install "altgrad[tensorboard]"'
            ) from None
        self._event, self._session, self._summary = Event, SessionLog, Summary
        self._scalar, self._text, self._hparams = scalar, text, hparams
        self._ending: Any = None  # what says that the run finished, once it is described
        if directory.is_symlink():
            raise PluginError(f"{directory}: is a symbolic link, and nothing is written through a link; remove it")
        directory.mkdir(parents=True, exist_ok=True)
        before = len(list(directory.iterdir()))  # earlier parts of a resumed run, or replays of it
        path = directory / f"events.out.tfevents.{int(time.time()):010d}.{platform.node()}.{os.getpid()}.{before}"
        self._file = path.open("xb")
        self._records = RecordWriter(self._file)
        self._append(file_version="brain.Event:2")

    def begin(self, step: int) -> None:
        """Have TensorBoard forget what earlier files say of this step and later ones."""
        self._append(step=step, session_log=self._session(status=self._session.START))

    def describe(self, values: Mapping[str, float | str], metrics: Sequence[str]) -> None:
        """Write hyper-parameters, and which scalars the tab HParams shows beside them."""
        experiment, start, self._ending = self._hparams(dict(values), dict.fromkeys(metrics, 0.0))
        self._append(step=0, summary=experiment)
        self._append(step=0, summary=start)

    def end(self) -> None:
        """Write that a described run has finished."""
        if self._ending is not None:
            self._append(step=0, summary=self._ending)

    def add(self, step: int, numbers: Mapping[str, float], texts: Mapping[str, str]) -> None:
        """Write numbers and texts of one step, by tag."""
        parts = [self._scalar(tag, number) for tag, number in numbers.items()]
        parts += [self._text(tag, shown) for tag, shown in texts.items()]
        values = [value for part in parts for value in part.value]
        self._append(step=step, summary=self._summary(value=values))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
        self._file.flush()


def _as_code(manifest: Mapping[str, Any]) -> str:
    """A manifest as markdown shows it unchanged."""
    return "\n".join("    " + line for line in json.dumps(manifest, indent=2, default=str).splitlines())


def _as_table(values: Mapping[str, float]) -> str:
    """The values of one step, a row for each layer, as markdown."""
    return "\n".join(
        ["| layer | value |", "|---|---|", *(f"| {layer} | {value:.6g} |" for layer, value in values.items())]
    )
