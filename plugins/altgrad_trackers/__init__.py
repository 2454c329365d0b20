"""Trackers: copies of a run's main numbers in Weights & Biases, TensorBoard and Trackio."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import PositiveFloat, model_validator

from altgrad_core import TrackedRun, Tracker, TrackerSpec, hookimpl


class WandB(TrackerSpec):
    """Weights & Biases; without an API key, files for a later upload.

    Attributes:
        project: the project the run belongs to.
        mode: `auto` obeys WANDB_MODE, else it is `online` where WANDB_API_KEY is set and `offline` elsewhere.
        init_timeout: seconds to wait for the server before giving up; less than `patience`.
    """

    name: ClassVar = "wandb"
    project: str = "altgrad"
    mode: Literal["auto", "offline", "online", "disabled"] = "auto"
    init_timeout: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _is_patient_enough(self) -> WandB:
        if self.init_timeout >= self.patience:
            raise ValueError(f"init_timeout {self.init_timeout:g} must be less than patience {self.patience:g}")
        return self

    def build(self, run: TrackedRun) -> Tracker:
        """Begin a run of the same name, with the manifest as its config."""
        from altgrad_trackers.wandb_run import WandBRun

        return WandBRun(self, run)


class TensorBoard(TrackerSpec):
    """TensorBoard event files, in the folder `tensorboard` of the run."""

    name: ClassVar = "tensorboard"

    def build(self, run: TrackedRun) -> Tracker:
        """Open the event file."""
        from altgrad_trackers.tensorboard_files import TensorBoardFiles

        return TensorBoardFiles(run)


class Trackio(TrackerSpec):
    """Trackio: a database and a dashboard on this machine, without an account.

    It uses no network unless you ask for it.

    It lies in TRACKIO_DIR, by default below `~/.cache/huggingface`. TRACKIO_SPACE_ID and TRACKIO_SERVER_URL, where you
    set them, send the numbers elsewhere. Numbers of single layers are not sent.

    Attributes:
        project: the project the run belongs to.
    """

    name: ClassVar = "trackio"
    project: str = "altgrad"

    def build(self, run: TrackedRun) -> Tracker:
        """Begin a run of the same name, with the keys of the manifest as its config."""
        from altgrad_trackers.trackio_run import TrackioRun

        return TrackioRun(self, run)


@hookimpl
def altgrad_trackers() -> Iterator[type[TrackerSpec]]:
    """The trackers of this package."""
    yield WandB
    yield TensorBoard
    yield Trackio
