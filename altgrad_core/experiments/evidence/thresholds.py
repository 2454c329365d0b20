"""The largest learning rate that does not diverge, for every optimizer and format."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from altgrad_core.experiments.matrix.search import bracket, stable_rates
from altgrad_core.experiments.study.study import Result, Study
from altgrad_core.results.ending import Ending


@dataclass(frozen=True)
class Threshold:
    """What one seed tells of where an arm stops training.

    Attributes:
        seed: the one with which most rates were tried.
        rates: how many.
        stable: the largest rate below which nothing diverged: see `stable_rates`; None where the smallest tried diverged already.
        diverged: the smallest that diverged; None where none did.
    """

    format: str
    optimizer: str
    variant: str
    seed: int
    rates: int
    stable: float | None
    diverged: float | None

    @property
    def uncertainty(self) -> float | None:
        """The factor between the two, within which the threshold lies."""
        return None if self.stable is None or self.diverged is None else self.diverged / self.stable


def thresholds_of(study: Study) -> tuple[Threshold, ...]:
    """One for every arm of which some rate was tried, probes among them, in order of appearance."""
    matches: dict[tuple[str, str, str], list[Result]] = {}
    for result in study.results:
        if result.rate is not None and result.seed is not None and result.has_ended:
            matches.setdefault((result.format, result.optimizer, result.variant), []).append(result)
    return tuple(_threshold(key, results) for key, results in matches.items())


def _threshold(arm: tuple[str, str, str], results: Iterable[Result]) -> Threshold:
    by_seed: dict[int, dict[float, Ending]] = {}
    for result in results:
        assert result.seed is not None and result.rate is not None
        ending = Ending.of(result.summary) or Ending("missing")
        by_seed.setdefault(result.seed, {})[result.rate] = ending
    seed, endings = max(by_seed.items(), key=lambda pair: len(pair[1]))
    return Threshold(*arm, seed, len(endings), *bracket(stable_rates(endings)))
