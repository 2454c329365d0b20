"""A study: the runs in a directory, what tells them apart, and how each ended."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from altgrad_core.experiments.study.declared import Declared
from altgrad_core.experiments.study.labels import UNKNOWN, Defaults, Labels, labels_of
from altgrad_core.experiments.study.reading import Planned, Reader
from altgrad_core.experiments.study.registration import Registration
from altgrad_core.experiments.study.result import Result as Result
from altgrad_core.experiments.study.variants import named
from altgrad_core.experiments.study.wording import few
from altgrad_core.records.directory import RunDirectory
from altgrad_core.running.state.trained_with import step_of_another_manifest


@dataclass(frozen=True)
class Study:
    """Every cell of a study, planned or run.

    Attributes:
        baseline: the optimizer label that the others are compared with; None where no cell has one.
        problems: what could not be read, or not be trusted: sentences.
        variants: the name of each variant that has one -> what it sets, `key=value, key=value`.
        defaults: by optimizer, what its options are where a manifest does not set them.
        bits: the width of formats that were planned, by name.
        margin: the difference in loss that the manifest calls too small to matter, in nats per token.
        registrations: what a confirmatory study declared, the first time and at each change; empty: exploratory.
        declared: what the optimizers declare of their options.
    """

    name: str
    directory: Path
    results: tuple[Result, ...]
    baseline: str | None
    problems: tuple[str, ...]
    variants: Mapping[str, str] = field(default_factory=dict)
    defaults: Defaults = field(default_factory=dict)
    bits: Mapping[str, int] = field(default_factory=dict)
    margin: float | None = None
    registrations: tuple[Registration, ...] = ()
    declared: Declared = field(default_factory=Declared)

    def formats(self) -> tuple[str, ...]:
        """The format labels in order of appearance."""
        return tuple(dict.fromkeys(result.format for result in self.results))

    def optimizers(self) -> tuple[str, ...]:
        """The optimizer labels in order of appearance."""
        return tuple(dict.fromkeys(result.optimizer for result in self.results))

    @property
    def unit(self) -> str:
        """The unit of the losses."""
        units = dict.fromkeys(str(unit) for task in self._tasks if (unit := task.get("unit")))
        return " or ".join(units) or "nats per token"

    @property
    def initial_loss(self) -> float | None:
        """The loss of a model that has learned nothing; None where cells differ in it, or it is not recorded."""
        result = {float(loss) for task in self._tasks if isinstance(loss := task.get("initial_loss"), int | float)}
        return result.pop() if len(result) == 1 else None

    @property
    def reference_losses(self) -> dict[str, float]:
        """By name, the losses of simple predictors on the validation split, the highest first; none where cells differ."""
        result = [dict(_losses(data)) for r in self.results if isinstance(data := r.summary.get("data"), Mapping)]
        if not result or any(losses != result[0] for losses in result):
            return {}
        return dict(sorted(result[0].items(), key=lambda item: -item[1]))

    @property
    def _tasks(self) -> list[Mapping[str, Any]]:
        return [task for result in self.results if isinstance(task := result.summary.get("task"), Mapping)]

    def seeds(self) -> tuple[int, ...]:
        """The seeds in order of appearance."""
        return tuple(dict.fromkeys(result.seed for result in self.results if result.seed is not None))

    @classmethod
    def read(cls, directory: Path) -> Study:
        """Read the directory of a study, of a single run, or one with runs in it.

        Raises:
            ManifestError: it is none of these, or a newer version laid it out.
        """
        reader = Reader(directory)
        plan = reader.listed()
        results, variants = _labelled([reader.result(cell) for cell in plan.cells], plan)
        baseline, registrations = _baseline(plan.baseline, results, reader.problems), reader.registrations(plan)
        problems = (*reader.problems, *_edited(directory, results), *_doubles(results))
        return cls(
            plan.name, directory, results, baseline, problems, variants, plan.defaults, plan.bits, plan.margin, registrations,
            plan.declared,
        )  # fmt: skip


def _losses(data: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    references = data.get("reference_losses")
    for name, loss in references.items() if isinstance(references, Mapping) else ():
        if isinstance(loss, int | float) and math.isfinite(loss) and loss > 0:
            yield str(name), float(loss)


def _labelled(results: Sequence[Result], plan: Planned) -> tuple[tuple[Result, ...], dict[str, str]]:
    """The results with their labels, and what the named variants set."""
    cells = plan.cells
    points = [point if isinstance(point := cell.get("point"), dict) else {} for cell in cells]
    planned = [manifest if isinstance(manifest := cell.get("manifest"), dict) else {} for cell in cells]
    recorded = [Labels.of(cell.get("labels")) for cell in cells]
    labels = [label for label in recorded if label is not None]
    if len(labels) < len(cells):
        labels = labels_of([r.manifest or own for r, own in zip(results, planned, strict=True)], plan.defaults)
    names = named([(label.format, label.variant) for label in labels], points)
    shown = [label._replace(variant=names.get(label.variant, label.variant)) for label in labels]
    labelled = tuple(_with(result, label) for result, label in zip(results, shown, strict=True))
    return labelled, {name: varying for varying, name in names.items()}


def _with(result: Result, labels: Labels) -> Result:
    labelled = replace(result, **labels._asdict())
    if "run_summary" in vars(result):
        vars(labelled)["run_summary"] = result.run_summary  # it is the same file, already read
    return labelled


def _baseline(name: str | None, results: Sequence[Result], problems: list[str]) -> str | None:
    """The label that was asked for, or the first label of that optimizer, or that of the first cell."""
    labels = list(dict.fromkeys(result.optimizer for result in results if result.rate is not None))
    if name is not None:
        for label in labels:
            if name in (label, label.split(" (")[0]):
                return label
        problems.append(f'the baseline "{name}" is none of the optimizers: {few(labels) or "there is none"}')
    return labels[0] if labels else None


def _doubles(results: Sequence[Result]) -> Iterator[str]:
    """Cells that ran and that nothing tells apart; what is only planned may yet differ in what is not known of it."""
    seen: dict[Labels, str] = {}
    for result in (result for result in results if result.manifest):
        labels = Labels(result.format, result.optimizer, result.rate, result.seed, result.variant)
        first = seen.setdefault(labels, result.name)
        if first != result.name and result.optimizer != UNKNOWN and result.role == "cell":
            yield (
                f"{first} and {result.name} have the same format, optimizer, variant, rate and seed; "
                "only the first that ended is compared"
            )


def _edited(directory: Path, results: Sequence[Result]) -> Iterator[str]:
    """Cells whose settings, as they are shown, are not those with which they were trained."""
    names = [result.name for result in results if step_of_another_manifest(RunDirectory(result.directory)) is not None]
    if names:
        verb = "is" if len(names) == 1 else "are"
        yield (
            f"{directory}: resolved.toml of {few(names)} {verb} not what the last checkpoint was trained with, so the settings "
            "shown may be wrong; put the file back"
        )
