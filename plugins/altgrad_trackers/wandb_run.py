"""Weights & Biases: one of its runs for each of ours."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad_core import PluginError, RunError, TrackedRun, Tracker
from altgrad_trackers.scalars import by_layer, scalars
from altgrad_trackers.tables import LayerTables, Row
from altgrad_trackers.wandb_log import QuietLog

if TYPE_CHECKING:
    from altgrad_trackers import WandB

_LONGEST_TAG = 64
_LONGEST_GROUP = 128


class WandBRun(Tracker):
    """Logs the main numbers, each with its step, and now and then a table of the values of all layers."""

    def __init__(self, options: WandB, run: TrackedRun) -> None:
        self._mode = options.mode if options.mode != "auto" else automatic_mode(os.environ)
        self._log = QuietLog()
        try:
            self._run, self._table = _begin(options, run, mode=self._mode)
        except BaseException:
            self._log.close()
            raise
        self._run.define_metric("*", step_metric="step")  # records of one step may come in several parts
        self._layers, self._step = LayerTables(), 0

    def write(self, record: Mapping[str, Any]) -> None:
        """Log the main numbers of one record, and the table of its reading if that is due."""
        numbers: dict[str, Any] = scalars(record)
        if values := by_layer(record):
            self._step = record["step"]
            rows = self._layers.take(record["reading"], self._step, values)
            numbers |= self._tables({} if rows is None else {record["reading"]: rows})
        if numbers:
            self._run.log({"step": record["step"], **numbers})

    def close(self, status: str) -> str | None:
        """Finish; the command that uploads an offline run, or the address of an online one."""
        try:
            return self._close(status)
        finally:
            self._log.close()

    def _close(self, status: str) -> str | None:
        if rest := self._tables(self._layers.rest()):
            self._run.log({"step": self._step, **rest})
        self._run.summary["status"] = status
        farewell = None
        if self._mode == "offline":
            farewell = f"wandb sync {shlex.quote(str(Path(self._run.dir).parent))}"
        elif self._mode != "disabled":
            farewell = self._run.url
        self._run.finish(exit_code=0 if status == "finished" else 1)
        return farewell

    def _tables(self, rows: Mapping[str, list[Row]]) -> dict[str, Any]:
        """Tables as wandb takes them, by tag."""
        columns = ["step", "layer", "value"]
        return {f"layers/{reading}": self._table(columns=columns, data=result) for reading, result in rows.items()}


def automatic_mode(environment: Mapping[str, str]) -> str:
    """What the environment asks for: WANDB_MODE, else `online` where there is a key, so that nothing ever prompts."""
    return environment.get("WANDB_MODE") or ("online" if environment.get("WANDB_API_KEY") else "offline")


def _begin(options: WandB, run: TrackedRun, *, mode: str) -> tuple[Any, Any]:
    """The begun run, and the class of its tables."""
    if mode != "online":  # it would report errors and usage to its makers even then
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    try:
        from wandb import Error, Settings, Table, init
    except ImportError as error:
        raise PluginError(f'tracker "wandb": {error}; install it with: pip install "altgrad[wandb]"') from None
    settings = Settings(
        init_timeout=options.init_timeout,
        login_timeout=int(max(options.init_timeout, 1)),
        silent=True,
        console="off",  # the terminal belongs to the run
        reinit="create_new",  # the cells of a matrix may share a process
    )
    place = {**_place(options, run), "mode": mode}
    try:
        return init(**place, config=dict(run.manifest), settings=settings), Table
    except Error as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise RunError(
            f'tracker "wandb": cannot begin a run ({mode}): {reason}; try mode = "offline" and upload later'
        ) from error


def _place(options: WandB, run: TrackedRun) -> dict[str, Any]:
    """Where a run is found: a cell of a study stands in the group of the study."""
    return {
        "project": options.project,
        "name": run.name,
        "group": run.group[:_LONGEST_GROUP] if run.group is not None else None,
        "job_type": "cell" if run.group is not None else None,
        "tags": [tag[:_LONGEST_TAG] for tag in run.tags],
        "dir": str(run.directory),
    }
