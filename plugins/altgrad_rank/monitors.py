"""Monitors of the rank of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeInt, PositiveInt

from altgrad_core import Monitor, Reading, Readings, Updated

Share = Annotated[float, Field(gt=0, lt=1)]
Tolerance = Annotated[float, Field(ge=1e-5, le=0.1)]


class StableRank(Monitor):
    """Stable rank of every watched weight, measured after the update.

    |W|_F^2 / |W|_2^2, at least 1 and at most the rank; 0 for a zero matrix (Rudelson and Vershynin, 2007). A weight with
    NaN or infinities is left out. What is reported is never below the true value and at most `tolerance` of it above:
    |W|_2 is approached from the leading vector of the last report, and proven at every report; where that fails, it is
    computed from all singular values.

    Options:
        tolerance: by how much the stable rank may be above its true value, as a share of it.
    """

    name: ClassVar = "stable-rank"
    reports: ClassVar = (Reading("stable-rank", chart="bar"),)
    every: PositiveInt = 100
    tolerance: Tolerance = 1e-3

    _vectors: dict[str, Any] = {}

    def observe(self, event: Updated) -> Readings:
        """The stable rank by layer."""
        return dict(_stable_ranks(event, self._vectors, layers=self.layers, tolerance=self.tolerance))


class SingularValues(Monitor):
    """Effective rank, rank99 and spectral norm of every watched weight.

    They come from all singular values.

    A weight with NaN or infinities is left out; all are 0 for a zero matrix.

    - `effective-rank`: exp(entropy of sigma / sum sigma) (Roy and Vetterli, EUSIPCO 2007), from 1 to the rank.
    - `rank99`: how many of the largest singular values hold 99 % of sum sigma^2.
    - `spectral-norm`: the largest singular value.
    """

    name: ClassVar = "singular-values"
    reports: ClassVar = ("effective-rank", "rank99", "spectral-norm")
    every: PositiveInt = 100

    def observe(self, event: Updated) -> Readings:
        """Three numbers by layer."""
        from altgrad_rank.spectrum import effective_rank, rank99, singular_values

        sigmas = {weight.path: singular_values(weight.after) for weight in event.weights(self.layers)}
        known = {path: sigma for path, sigma in sigmas.items() if sigma is not None}
        return {
            "effective-rank": {path: effective_rank(sigma) for path, sigma in known.items()},
            "rank99": {path: rank99(sigma) for path, sigma in known.items()},
            "spectral-norm": {path: float(sigma[0]) for path, sigma in known.items()},
        }


class RankDrop(Monitor):
    """Drop of the stable rank of every weight since the warm-up.

    A second reading says whether it is beyond a threshold.

    Weights of healthy float32 runs drop too, by 30 % and more, `lm_head` most of all: a drop is no collapse unless the
    same run in float32 keeps its rank. A weight is left out while it is not finite.

    - `rank-average`: exponential moving average of the stable rank over the readings, which weighs a new one by
      `smoothing`; it begins with the first reading.
    - `rank-drop`: 1 - average / average at the first reading after the warm-up; negative where the rank grew.
    - `rank-dropped`: 1 where the drop is beyond its threshold, else 0.

    Attributes:
        tolerance: by how much the stable rank may be above its true value, as a share of it.
        smoothing: weight of a new reading in the average.
        warmup: steps before the drop is measured; by default a tenth of the run.
        threshold: of every layer that has no other.
        thresholds: by layer pattern; the last that matches counts.
    """

    name: ClassVar = "rank-drop"
    reports: ClassVar = (
        "rank-average",
        Reading("rank-drop", "drop of the stable rank", "share", worse="up", limit=0.3, chart="heat"),
        Reading("rank-dropped", worse="up"),
    )
    every: PositiveInt = 100
    tolerance: Tolerance = 1e-3
    smoothing: Share = 0.1
    warmup: NonNegativeInt | None = None
    threshold: Share = 0.30
    thresholds: dict[str, Share] = {"lm_head|*c_proj": 0.15}

    _vectors: dict[str, Any] = {}
    _averages: dict[str, float] = {}
    _warm: dict[str, float] = {}

    def observe(self, event: Updated) -> Readings:
        """The average by layer, and after the warm-up its drop."""
        averages, warm = {}, self._warm_at(event.steps)
        for path, rank in _stable_ranks(event, self._vectors, layers=self.layers, tolerance=self.tolerance):
            last = self._averages.get(path, rank)
            averages[path] = self._averages[path] = last + self.smoothing * (rank - last)
            if event.step >= warm and averages[path] > 0:
                self._warm.setdefault(path, averages[path])
        drops = {path: 1 - average / self._warm[path] for path, average in averages.items() if path in self._warm}
        return {
            "rank-average": averages,
            "rank-drop": drops,
            "rank-dropped": {path: int(drop > self.threshold_of(path)) for path, drop in drops.items()},
        }

    def begins(self, reading: str, steps: int) -> int:
        """Averages from `start` on, drops after the warm-up."""
        return self.start if reading == "rank-average" else max(self.start, self._warm_at(steps))

    def _warm_at(self, steps: int) -> int:
        """The first step at which a drop is measured."""
        return steps // 10 if self.warmup is None else self.warmup

    def threshold_of(self, path: str) -> float:
        """The threshold of a layer."""
        matching = (
            threshold
            for pattern, threshold in reversed(self.thresholds.items())
            if any(fnmatchcase(path, part.strip()) for part in pattern.split("|"))
        )
        return next(matching, self.threshold)


def _stable_ranks(
    event: Updated, vectors: dict[str, Any], *, layers: str, tolerance: float
) -> Iterator[tuple[str, float]]:
    """The stable rank of every finite weight; `vectors` remembers where to begin next time."""
    from altgrad_rank.bounded import bounded_stable_rank

    for weight in event.weights(layers):
        bounded = partial(bounded_stable_rank, weight.after, vectors.get(weight.path), tolerance=tolerance)
        rank, vectors[weight.path] = weight.once(f"stable rank within {tolerance}", bounded)
        if rank is not None:
            yield weight.path, rank
