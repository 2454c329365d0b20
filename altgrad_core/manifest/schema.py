"""The schema of a manifest. Tables with `use` carry the options of the plugin they name beside their own keys."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from altgrad_core.contracts.options import Table
from altgrad_core.manifest.recipe_schema import EvaluateTable, RecipeTable
from altgrad_core.manifest.search_schema import SearchTable
from altgrad_core.text import unusable_name


class RunTable(Table):
    """`[run]`: how long, how often, with which seed.

    Attributes:
        name: what the run is called, and its directory below `runs`; the name of the file, by default.
        seed: of initial weights, order of batches, dropout and stochastic rounding.
        steps: how many steps the optimizer takes.
        checkpoint_every: steps from one checkpoint to the next; one is always saved at the end.
        keep_checkpoints: how many of the newest checkpoints are kept.
        evaluate_every: steps from one evaluation to the next; one is always made at the end.
        evaluate_batches: how many validation batches an evaluation takes.
        device: where it trains; `auto` takes a GPU if there is one.
        threads: of the processor; another number may change the last bits of the losses.
        reduce: how several processes add gradients; `exact` gives the bits of one process, `fast` sends less.
    """

    name: str = Field(default="", pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: NonNegativeInt = 0
    steps: PositiveInt
    checkpoint_every: PositiveInt | None = None
    keep_checkpoints: int = Field(default=2, ge=2)
    evaluate_every: PositiveInt | None = None
    evaluate_batches: PositiveInt = 8
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: PositiveInt | None = Field(default=None, le=4096)
    reduce: Literal["exact", "fast"] = "exact"
    strict: bool | None = Field(default=None, description="whether a monitor that writes to a weight ends the run")

    @field_validator("name")
    @classmethod
    def _can_name_a_directory(cls, name: str) -> str:
        if name and (problem := unusable_name(name)) is not None:
            raise ValueError(f"{problem}; choose another name")
        return name


class OpenTable(Table):
    """A table with the options of a plugin among its keys."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to the plugin."""
        return dict(self.model_extra or {})


class UseTable(OpenTable):
    """A table that names a plugin: `use`, and any other keys as that plugin's options.

    Attributes:
        use: the name of a plugin; of a model and an optimizer also an import path, `package.module:name`.
    """

    use: str = Field(min_length=1)


class DataTable(UseTable):
    """`[data]`: the data set and the shape of a batch; `accumulate` micro-batches make one optimizer step.

    Attributes:
        use: the name of a data set.
        batch_size: examples, or sequences of tokens, in a micro-batch.
        accumulate: micro-batches in one step of the optimizer.
    """

    batch_size: PositiveInt = 16
    accumulate: PositiveInt = 1


class Schedule(Table):
    """The factor on the learning rate: linear warm-up from 1 / warmup, then `kind`, ending at `final`.

    Attributes:
        kind: how the factor falls after the warm-up.
        warmup: steps of the warm-up.
        final: the factor in the last step.
    """

    kind: Literal["constant", "cosine", "linear"] = "constant"
    warmup: NonNegativeInt = 0
    final: float = Field(default=0.1, ge=0, le=1)

    def factor(self, step: int, steps: int) -> float:
        """The factor for optimizer step `step`, counted from 1, of `steps`."""
        if step <= self.warmup:
            return step / self.warmup
        progress = (step - self.warmup - 1) / max(1, steps - self.warmup - 1)
        if self.kind == "constant":
            return 1.0
        fall = (1 - math.cos(math.pi * progress)) / 2 if self.kind == "cosine" else progress
        return 1 - (1 - self.final) * fall


class GroupTable(OpenTable):
    """`[[optimizer.group]]`: which parameters have options of their own, or another optimizer. Later groups win.

    Attributes:
        layers: a pattern of their paths, such as `blocks.*`; several separated by `|`.
        only: of these, `matrices` (two dimensions or more) or `vectors`.
        use: another optimizer; without it, that of `[optimizer]` with its options and those given here.
    """

    layers: str = Field(min_length=1)
    only: Literal["matrices", "vectors"] | None = None
    use: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _has_no_common_key(self) -> GroupTable:
        for key in ("schedule", "clip_norm"):
            if key in self.options:
                raise ValueError(f"{key} is common to all groups; write it in [optimizer]")
        return self

    def over(self, use: str, options: dict[str, Any]) -> UseTable:
        """The whole table of these parameters: on top of the options of `use`, unless it names another optimizer."""
        inherited = options if self.use in (None, use) else {}
        return UseTable(**{**inherited, **self.options, "use": self.use or use})


class OptimizerTable(UseTable):
    """`[optimizer]`: the optimizer, its schedule, clipping of the global gradient norm, and groups of parameters.

    Attributes:
        use: the name of an optimizer, or the import path of a class, `package.module:Class`.
        schedule: how the learning rates of all groups change.
        clip_norm: the largest L2 norm of the gradient of the whole model; without it, nothing is clipped.
        group: parameters with options of their own.
    """

    schedule: Schedule = Schedule()
    clip_norm: PositiveFloat | None = None
    group: list[GroupTable] = []


class ConfirmsTable(Table):
    """`[matrix.confirms]`: what a confirmatory study sets out to test, declared before it is trained.

    Attributes:
        hypothesis: in words; what would be shown, and what would refute it.
        analysis: which comparison decides, by which interval or test.
    """

    hypothesis: str = Field(min_length=1, max_length=2000)
    analysis: str = Field(min_length=1, max_length=2000)


class MatrixTable(OpenTable):
    """`[matrix]`: every combination of its axes is a cell; an axis is a key of the manifest with a list of values.

    Attributes:
        zip: axes that advance together.
        variant: one more axis, of named variants, each of which sets any keys.
        include, exclude: further small matrices; combinations that are left out.
        search: which rates are tried.
        checkpoints: what is kept of the checkpoints of a finished cell.
        baseline: the optimizer that the report compares the others with; that of the first cell, by default.
        margin: a difference in validation loss, in nats per token, that is too small to matter: the report then tests
            whether effects are shown to be within it.
        confirms: the hypothesis of a confirmatory study, which needs a margin; without it the study is exploratory.
    """

    zip: list[Annotated[list[str], Field(min_length=2)]] = []
    variant: dict[str, dict[str, Any]] = {}
    include: list[dict[str, Any]] = []
    exclude: list[Annotated[dict[str, Any], Field(min_length=1)]] = []
    search: SearchTable | None = None
    checkpoints: Literal["last", "all", "none"] = "last"
    baseline: str | None = None
    margin: PositiveFloat | None = None
    confirms: ConfirmsTable | None = None

    @model_validator(mode="after")
    def _declares_its_margin(self) -> MatrixTable:
        if self.confirms is not None and self.margin is None:
            raise ValueError(
                "confirms declares a hypothesis without a margin; set margin, the difference in loss that is too small to "
                "matter, such as margin = 0.005"
            )
        return self


class RecipeFile(Table):
    """The recipe of a file that may hold nothing else."""

    recipe: list[RecipeTable]


class Manifest(Table):
    """A whole manifest. `extends` has already been followed.

    Attributes:
        run: name, steps, seed, and when to evaluate and to save.
        model: the model and its options.
        data: the data set and its options, and the size of a batch.
        optimizer: the optimizer and its options, the schedule, clipping, and groups of parameters of their own.
        recipe: rules that say which operands of which layers are quantized, and how; later rules win, role by role.
        evaluate: recipes that the weights are evaluated under when training has ended.
        monitor: what is measured while the run trains.
        intervention: what acts on measurements.
        tracker: where copies of the records go.
        matrix: axes whose every combination is a run of a study.
        executor: what trains the runs of a study.
    """

    run: RunTable
    model: UseTable
    data: DataTable
    optimizer: OptimizerTable
    recipe: list[RecipeTable] = []
    evaluate: list[EvaluateTable] = []
    monitor: list[UseTable] = []
    intervention: list[UseTable] = []
    tracker: list[UseTable] = []
    matrix: MatrixTable | None = None
    executor: UseTable | None = None
