"""Weights & Biases: one of its runs for each of ours."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad_core import PluginError, RunError, RunFacts, Tracker
from altgrad_trackers.scalars import scalars

if TYPE_CHECKING:
    from altgrad_trackers import WandB


class WandBRun(Tracker):
    """Logs the main numbers, each with its step."""

    def __init__(self, options: WandB, run: RunFacts) -> None:
        self._mode = options.mode if options.mode != "auto" else automatic_mode(os.environ)
        self._run = _begin(options, run, mode=self._mode)
        self._run.define_metric("*", step_metric="step")  # records of one step may come in several parts

    def write(self, record: Mapping[str, Any]) -> None:
        """Log the main numbers of one record."""
        if numbers := scalars(record):
            self._run.log({"step": record["step"], **numbers})

    def close(self, status: str) -> str | None:
        """Finish; the command that uploads an offline run, or the address of an online one."""
        self._run.summary["status"] = status
        if self._mode == "offline":
            farewell = f"wandb sync {shlex.quote(str(Path(self._run.dir).parent))}"
        else:
            farewell = self._run.url
        self._run.finish(exit_code=0 if status == "finished" else 1)
        return farewell


def automatic_mode(environment: Mapping[str, str]) -> str:
    """What the environment asks for: WANDB_MODE, else `online` where there is a key, so that nothing ever prompts."""
    return environment.get("WANDB_MODE") or ("online" if environment.get("WANDB_API_KEY") else "offline")


def _begin(options: WandB, run: RunFacts, *, mode: str) -> Any:
    try:
        from wandb import Error, Settings, init
    except ImportError as error:
        raise PluginError(f'tracker "wandb": {error}; install it with: pip install "altgrad[wandb]"') from None
    settings = Settings(
        init_timeout=options.init_timeout,
        login_timeout=int(max(options.init_timeout, 1)),
        silent=True,
        console="off",  # the terminal belongs to the run
        reinit="create_new",  # the cells of a matrix may share a process
    )
    place = {"project": options.project, "name": run.name, "dir": str(run.directory)}
    try:
        return init(**place, config=dict(run.manifest), mode=mode, settings=settings)  # type: ignore[arg-type]
    except Error as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise RunError(
            f'tracker "wandb": cannot begin a run ({mode}): {reason}; try mode = "offline" and upload later'
        ) from error
