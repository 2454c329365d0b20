"""Where the variance of a study comes from, and what formats gain once their estimates are pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

Cell = tuple[str, ...]


@dataclass(frozen=True)
class Share:
    """How much of the variance of the losses goes along with one factor.

    Attributes:
        name: of the factor.
        levels: how many values it has.
        share: of the total sum of squares, from 0 to 1.
    """

    name: str
    levels: int
    share: float


def shares(losses: Mapping[Cell, float], names: Sequence[str]) -> tuple[Share, ...] | None:
    """The shares of the main effects in the total sum of squares of a balanced design, and of the rest.

    Analysis of variance (Fisher, 1925): the sum of squares of a factor is that of the means over everything else. The rest
    is what factors do together, and noise.

    Args:
        losses: by cell, the loss; a cell names its level of every factor. Levels of the last factor (seeds) that some
            combination lacks are left out, so that the design is balanced.
        names: of the factors, in the order in which a cell names its levels.

    Returns:
        None where fewer than two cells are left, or all losses are equal.
    """
    balanced = _balanced(losses)
    if len(balanced) < 2:
        return None
    mean = math.fsum(balanced.values()) / len(balanced)
    total = math.fsum((loss - mean) ** 2 for loss in balanced.values())
    if total == 0:
        return None
    result = []
    for place, name in enumerate(names):
        levels: dict[str, list[float]] = {}
        for cell, loss in balanced.items():
            levels.setdefault(cell[place], []).append(loss)
        if len(levels) > 1:
            squares = math.fsum(len(own) * (math.fsum(own) / len(own) - mean) ** 2 for own in levels.values())
            result.append(Share(name, len(levels), squares / total))
    rest = max(0.0, 1.0 - math.fsum(share.share for share in result))
    return (*result, Share("together, and noise", 0, rest))


def _balanced(losses: Mapping[Cell, float]) -> dict[Cell, float]:
    """The cells whose last level every combination of the other levels has; empty where a combination is missing."""
    levels = [list(dict.fromkeys(cell[place] for cell in losses)) for place in range(len(next(iter(losses), ())) - 1)]
    combinations = list(product(*levels))
    last = dict.fromkeys(cell[-1] for cell in losses)
    common = [level for level in last if all((*others, level) in losses for others in combinations)]
    return {(*others, level): losses[(*others, level)] for others in combinations for level in common}


@dataclass(frozen=True)
class Pooled:
    """Gains of several formats, pooled: each is moved towards their mean, the more the less formats differ.

    Attributes:
        mean: over formats and seeds.
        weight: how much of a format's own difference from the mean is kept, from 0 (formats cannot be told apart) to 1.
        p: that formats differ as much as seen by chance alone (F test).
        gains: by format, the pooled estimate.
        raw: by format, its own mean.
        seeds: how many all formats share.
    """

    mean: float
    weight: float
    p: float
    gains: Mapping[str, float]
    raw: Mapping[str, float]
    seeds: int


def pooled(gains: Mapping[str, Mapping[int, float]]) -> Pooled | None:
    """Partial pooling of the gains of formats that share seeds.

    A gain is taken as mean + format + seed + noise. The weight is 1 - 1 / F, at least 0, where F is the mean square of
    formats over that of the noise: the empirical Bayes estimate of James and Stein (Efron and Morris, 1975).

    Args:
        gains: by format, the gain of every seed.

    Returns:
        None below 3 formats or 2 seeds in common.
    """
    from scipy import stats

    seeds = [seed for seed in next(iter(gains.values()), {}) if all(seed in own for own in gains.values())]
    formats, count = len(gains), len(seeds)
    if formats < 3 or count < 2:
        return None
    mean = math.fsum(own[seed] for own in gains.values() for seed in seeds) / (formats * count)
    by_format = {name: math.fsum(own[seed] for seed in seeds) / count for name, own in gains.items()}
    by_seed = {seed: math.fsum(own[seed] for own in gains.values()) / formats for seed in seeds}
    between = count * math.fsum((value - mean) ** 2 for value in by_format.values()) / (formats - 1)
    noise = [own[seed] - by_format[name] - by_seed[seed] + mean for name, own in gains.items() for seed in seeds]
    freedom = (formats - 1) * (count - 1)
    within = math.fsum(value**2 for value in noise) / freedom
    if within == 0:
        return Pooled(mean, 1.0 if between else 0.0, 0.0 if between else 1.0, by_format, by_format, count)
    ratio = between / within
    weight = max(0.0, 1.0 - 1.0 / ratio) if ratio else 0.0
    p = float(stats.f.sf(ratio, formats - 1, freedom))
    moved = {name: mean + weight * (value - mean) for name, value in by_format.items()}
    return Pooled(mean, weight, p, moved, by_format, count)
