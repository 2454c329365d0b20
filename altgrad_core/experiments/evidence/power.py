"""What a study of so many pairs can show: the smallest effect it detects, and equivalence within a margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

from altgrad_core.experiments.evidence.statistics import CONFIDENCE, FEWEST_VALUES, finite

POWER, ALPHA = 0.8, 0.05


@lru_cache
def detectable(pairs: int) -> float | None:
    """The smallest true mean, in standard deviations of the differences, that a paired t test detects.

    Detects: says so at the 5 % level, two-sided, in 80 % of studies (noncentral t; Cohen, 1988, chapter 2).

    Returns:
        None below 3 pairs.
    """
    from scipy import optimize, stats

    if pairs < FEWEST_VALUES:
        return None
    freedom, root = pairs - 1, math.sqrt(pairs)
    critical = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))

    def shortfall(effect: float) -> float:
        shift = effect * root
        shown = stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift)
        return float(shown) - POWER

    high = 4 / root  # scipy gives NaN for shifts far beyond what is needed
    while shortfall(high) < 0:
        high *= 2
    return float(optimize.brentq(shortfall, 0.0, high))


def detectable_effect(differences: Sequence[float]) -> float | None:
    """The smallest true mean that pairs which scatter like these would detect; None below 3 pairs."""
    values = finite(differences)
    factor = detectable(len(values))
    if factor is None:
        return None
    mean = math.fsum(values) / len(values)
    return factor * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def equivalence_p(differences: Sequence[float], margin: float) -> float | None:
    """The p of two one-sided t tests: that the true mean is not within -margin to margin (Schuirmann, 1987).

    Returns:
        None below 3 pairs.
    """
    from scipy import stats

    values = finite(differences)
    if len(values) < FEWEST_VALUES:
        return None
    if min(values) == max(values):  # no scatter: the mean is known
        return 0.0 if abs(values[0]) < margin else 1.0
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    return float(max(above, below))
