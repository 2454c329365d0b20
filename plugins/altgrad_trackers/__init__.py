"""Trackers: copies of a run's main numbers in Weights & Biases and TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import PositiveFloat

from altgrad_core import RunFacts, Tracker, TrackerSpec, hookimpl


class WandB(TrackerSpec):
    """Weights & Biases; without an API key the run is kept on disk, to be uploaded later.

    Attributes:
        project: the project the run belongs to.
        mode: `auto` obeys WANDB_MODE, else it is `online` where WANDB_API_KEY is set and `offline` elsewhere.
        init_timeout: seconds to wait for the server before giving up.
    """

    name: ClassVar = "wandb"
    project: str = "altgrad"
    mode: Literal["auto", "offline", "online", "disabled"] = "auto"
    init_timeout: PositiveFloat = 10.0

    def build(self, run: RunFacts) -> Tracker:
        """Begin a run of the same name, with the manifest as its config."""
        from altgrad_trackers.wandb_run import WandBRun

        return WandBRun(self, run)


class TensorBoard(TrackerSpec):
    """TensorBoard event files, in the folder `tensorboard` of the run."""

    name: ClassVar = "tensorboard"

    def build(self, run: RunFacts) -> Tracker:
        """Open the event file."""
        from altgrad_trackers.tensorboard_files import TensorBoardFiles

        return TensorBoardFiles(run.directory / "tensorboard")


@hookimpl
def altgrad_trackers() -> Iterator[type[TrackerSpec]]:
    """The trackers of this package."""
    yield WandB
    yield TensorBoard
