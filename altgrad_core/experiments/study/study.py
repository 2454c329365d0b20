"""A study: the runs in a directory, what tells them apart, and how each ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from altgrad_core.experiments.evidence.wording import few
from altgrad_core.experiments.study.labels import UNKNOWN, Labels, labels_of
from altgrad_core.experiments.study.planned import planned_manifests
from altgrad_core.experiments.study.reading import Reader
from altgrad_core.experiments.study.result import Result as Result


@dataclass(frozen=True)
class Study:
    """Every cell of a study, planned or run.

    Attributes:
        baseline: the optimizer label that the others are compared with; None where no cell has one.
        problems: what could not be read, or not be trusted: sentences.
    """

    name: str
    directory: Path
    results: tuple[Result, ...]
    baseline: str | None
    problems: tuple[str, ...]

    def formats(self) -> tuple[str, ...]:
        """The format labels in order of appearance."""
        return tuple(dict.fromkeys(result.format for result in self.results))

    def optimizers(self) -> tuple[str, ...]:
        """The optimizer labels in order of appearance."""
        return tuple(dict.fromkeys(result.optimizer for result in self.results))

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
        name, wanted, cells = reader.listed()
        results = _labelled([reader.result(cell) for cell in cells], cells, directory)
        baseline = _baseline(wanted, results, reader.problems)
        return cls(name, directory, results, baseline, (*reader.problems, *_doubles(results)))


def _labelled(results: Sequence[Result], cells: Sequence[Mapping[str, Any]], directory: Path) -> tuple[Result, ...]:
    points = [point if isinstance(point := cell.get("point"), dict) else {} for cell in cells]
    complete = planned_manifests([result.manifest for result in results], points, directory)
    return tuple(_with(result, labels) for result, labels in zip(results, labels_of(complete), strict=True))


def _with(result: Result, labels: Labels) -> Result:
    labelled = replace(result, **labels._asdict())
    if "digest" in vars(result):
        vars(labelled)["digest"] = result.digest  # it is the same file, already read
    return labelled


def _baseline(wanted: str | None, results: Sequence[Result], problems: list[str]) -> str | None:
    """The label that was asked for, or the first label of that optimizer, or that of the first cell."""
    labels = list(dict.fromkeys(result.optimizer for result in results if result.rate is not None))
    if wanted is not None:
        for label in labels:
            if wanted in (label, label.split(" (")[0]):
                return label
        problems.append(f'the baseline "{wanted}" is none of the optimizers: {few(labels) or "there is none"}')
    return labels[0] if labels else None


def _doubles(results: Sequence[Result]) -> Iterator[str]:
    """Cells that nothing tells apart."""
    seen: dict[Labels, str] = {}
    for result in results:
        labels = Labels(result.format, result.optimizer, result.rate, result.seed, result.variant)
        first = seen.setdefault(labels, result.name)
        if first != result.name and result.optimizer != UNKNOWN and result.role == "cell":
            yield (
                f"{first} and {result.name} have the same format, optimizer, variant, rate and seed; "
                "only the first that ended is compared"
            )
