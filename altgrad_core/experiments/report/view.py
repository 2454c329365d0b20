"""A study as the sections show it: panels, references, and one colour for each optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.figures.axes import can_be_drawn
from altgrad_core.experiments.figures.palette import colours_of
from altgrad_core.experiments.study.study import Result

WIDE_BITS = 16


@dataclass(frozen=True)
class Place:
    """A format and a variant: the arms that are shown in one panel, and what it is called."""

    format: str
    variant: str
    title: str
    arms: tuple[Arm, ...]


class View:
    """The analysis of a study, and what several sections need to show it."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.study = analysis.study
        self.arms = analysis.arms
        self.colours = colours_of(arm.optimizer for arm in self.arms)

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Every optimizer against the baseline."""
        return self.analysis.effects

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The formats and variants with a panel of their own: all but the wide ones, or those if there are no others."""
        narrow = [arm for arm in self.arms if not self.is_wide(arm.format)]
        result: dict[tuple[str, str], list[Arm]] = {}
        for arm in narrow or self.arms:
            result.setdefault((arm.format, arm.variant), []).append(arm)
        return tuple(Place(*key, self.title(*key), tuple(members)) for key, members in result.items())

    def title(self, format: str, variant: str) -> str:
        """The format, and its variant where it has several."""
        variants = {arm.variant for arm in self.arms if arm.format == format}
        return f"{format}, {variant}" if variant and len(variants) > 1 else format

    def references(self, place: Place) -> list[Arm]:
        """The arms in wide formats to compare a panel with: the baseline's, of the same variant where there is one."""
        result: dict[str, Arm] = {}
        wide = [arm for arm in self.arms if self.is_wide(arm.format) and arm.losses and arm not in place.arms]
        for arm in sorted(wide, key=lambda arm: (arm.optimizer != self.study.baseline, arm.variant != place.variant)):
            result.setdefault(arm.format, arm)
        return list(result.values())

    def is_wide(self, format: str) -> bool:
        """Whether a format label names only formats of 16 bits and more, with which 8 bits are compared."""
        return format in self._wide

    @cached_property
    def _wide(self) -> frozenset[str]:
        recorded = self.analysis.format_facts.items()
        known = {name: bits for name, facts in recorded if isinstance(bits := facts.get("bits"), int)}
        known = {**self.study.bits, **known}
        by_name = {label for label in self.study.formats() if all(known.get(n, 0) >= WIDE_BITS for n in _names(label))}
        return frozenset({*self.analysis.references, *by_name})

    def results(self, arm: Arm, *, chosen: bool = True) -> list[Result]:
        """The cells of an arm, those at its chosen rate or all, by seed."""
        all_of = self._by_arm.get((arm.format, arm.optimizer, arm.variant), [])
        own = [result for result in all_of if not chosen or result.rate == arm.rate]
        return sorted(own, key=lambda result: (result.rate or 0.0, -1 if result.seed is None else result.seed))

    @cached_property
    def _by_arm(self) -> dict[tuple[str, str, str], list[Result]]:
        """The cells of every arm, without the probes."""
        matches: dict[tuple[str, str, str], list[Result]] = {}
        for result in self.study.results:
            if result.role == "cell":
                matches.setdefault((result.format, result.optimizer, result.variant), []).append(result)
        return matches

    def cell(self, arm: Arm, *, rate: float | None, seed: int) -> Result | None:
        """The cell of an arm with this rate and seed that ended first in the list of cells."""
        cells = [cell for cell in self.results(arm, chosen=False) if (cell.rate, cell.seed) == (rate, seed)]
        return next((cell for cell in cells if cell.has_ended), None)


def mean(values: Iterable[float]) -> float | None:
    """The mean of the values that are finite, and not absurdly large; None where there is none."""
    finite = [value for value in values if can_be_drawn(value)]
    return math.fsum(finite) / len(finite) if finite else None


def _names(label: str) -> list[str]:
    """The formats in a label, such as `e4m3 (lm_head=bf16)` or `bf16/bf16/e5m2`."""
    inner = label.replace("(", " ").replace(")", " ").replace(",", " ").replace("/", " ").split()
    return [word.rpartition("=")[2] for word in inner]
