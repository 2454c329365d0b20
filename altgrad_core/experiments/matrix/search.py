"""Which rates or settings are tried, given how the tried ones ended. Pure functions: any process that asks gets the same answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from altgrad_core.manifest.search_schema import RangeTable
from altgrad_core.numerics.random import derive_key
from altgrad_core.results.ending import Ending

WIDEST_STEP = 10**0.5
MOST_STEPS = 4
"""A rate is sought up to `WIDEST_STEP ** MOST_STEPS` (100 times) beyond those tried."""


def neat(rate: float) -> float:
    """A rate to four significant digits, so that its name is its value."""
    return float(f"{rate:.4g}")


def around_the_best(losses: Mapping[float, float], *, keep: int, spacing: float | None = None) -> list[float]:
    """So many rates around the one of lowest loss, in ascending order.

    Args:
        losses: by rate; infinite for a run that did not end well.
        keep: how many.
        spacing: the factor between them; without one they are neighbours among those tried.
    """
    rates = sorted(losses)
    best = min(range(len(rates)), key=lambda index: (losses[rates[index]], index))
    if spacing is not None:
        return [neat(rates[best] * spacing ** (index - (keep - 1) / 2)) for index in range(keep)]
    first = min(max(0, best - (keep - 1) // 2), max(0, len(rates) - keep))
    return rates[first : first + keep]


def beyond_the_best(losses: Mapping[float, float], *, tried: Sequence[float], spacing: float | None) -> float | None:
    """The rate to add where the best one is the lowest or the highest of all; None where it has neighbours on both sides.

    Args:
        losses: by rate, the mean over all seeds; infinite where a run did not end well.
        tried: the rates that one seed tried; the next of them is taken, where there is one.
        spacing: the factor between the rates that all seeds take; without one they are among those tried, or go on in
            the last step.
    """
    rates = sorted(losses)
    if len(rates) < 2 or not any(math.isfinite(loss) for loss in losses.values()):
        return None
    best = min(rates, key=lambda rate: (losses[rate], rate))
    if best not in (rates[0], rates[-1]):
        return None
    goes_up = best == rates[-1]
    further = [rate for rate in tried if (rate > best if goes_up else rate < best)]
    if spacing is None and further:
        return min(further) if goes_up else max(further)
    step = spacing or (rates[-1] / rates[-2] if goes_up else rates[1] / rates[0])
    return neat(best * step if goes_up else best / step)


def the_best(losses: Mapping[float, float], *, keep: int) -> list[float]:
    """So many keys of lowest loss, in ascending order; of equal losses the smaller keys."""
    return sorted(sorted(losses, key=lambda key: (losses[key], key))[:keep])


def drawn(table: RangeTable, part: float, own: Any) -> float | int:
    """The value of a key at a part, from 0 to 1, of its range.

    Args:
        own: the value a cell has there itself; a number above 0 where the range is one of factors.
    """
    if table.whole is not None:
        low, high = table.whole
        return min(high, low + int(part * (high - low + 1)))
    if table.linear is not None:
        return neat(table.linear[0] + part * (table.linear[1] - table.linear[0]))
    ends = table.times or table.log
    assert ends is not None
    value = ends[0] * (ends[1] / ends[0]) ** part
    return neat(own * value if table.times is not None else value)


def part_of(seed: int, key: str, sample: int) -> float:
    """The random number from 0 to 1 of one key in one setting."""
    return derive_key(seed, "search", key, sample) / 2**63


def stable_rates(endings: Mapping[float, Ending]) -> dict[float, bool]:
    """For every rate, whether its run did not diverge.

    A run that ended with a loss not below that of a guess without context has diverged, unless its rate was too small to learn:
    below every rate that has learned. Where none has, a lower loss at a larger rate tells that.
    """
    learned = [rate for rate, ending in endings.items() if ending.has_learned]
    best = min(endings, key=lambda rate: (endings[rate].rank, rate), default=0.0)
    largest = min(learned, default=best if best > min(endings, default=0.0) else 0.0)
    return {rate: one.has_learned or (one.is_stable and rate <= largest) for rate, one in endings.items()}


def bracket(is_stable: Mapping[float, bool]) -> tuple[float | None, float | None]:
    """The largest rate below which nothing diverged, and the smallest that diverged; None where there is none."""
    diverged = min((rate for rate, stable in is_stable.items() if not stable), default=None)
    stable = max(
        (rate for rate, fine in is_stable.items() if fine and (diverged is None or rate < diverged)), default=None
    )
    return stable, diverged


def next_probe(is_stable: Mapping[float, bool], *, grid: Sequence[float], bisections: int) -> float | None:
    """The next rate to try for the largest stable one; None once it is known well enough.

    From the rates of the grid the search goes up until one diverges, or down until one does not, then halves the
    gap between the two on a logarithmic scale, `bisections` times.

    Args:
        is_stable: for every rate tried, whether the run did not diverge.
        grid: the rates that were tried to begin with, all in `is_stable`.
    """
    known = {rate: is_stable[rate] for rate in grid}
    steps = halvings = 0
    while True:
        stable, diverged = bracket(known)
        if stable is not None and diverged is not None:
            probe, halvings = neat(math.sqrt(stable * diverged)), halvings + 1
        else:
            outermost = max(known) * WIDEST_STEP if diverged is None else min(known) / WIDEST_STEP
            probe, steps = neat(outermost), steps + 1
        if halvings > bisections or steps > MOST_STEPS or probe in known:
            return None
        if probe not in is_stable:
            return probe
        known[probe] = is_stable[probe]
