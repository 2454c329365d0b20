"""One effect in words: how much better or worse, with its interval."""

from __future__ import annotations

import math

from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.refusals import NOTHING, plain
from altgrad_core.experiments.evidence.statistics import shown_interval
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import count, size, span


def mean_of(effect: Effect) -> float:
    """The mean effect; of no pair, less than any."""
    return -math.inf if effect.mean is None else effect.mean


def amount(study: Study, effect: Effect, metric: str) -> str:
    """The effect with its interval, as a gain: above zero helps."""
    interval, mean = shown_interval(effect), mean_of(effect)
    assert interval is not None
    if mean < 0:  # told as so much higher, its interval is turned around with it
        interval = Interval(-interval.mean, -interval.high, -interval.low)
    text = f"95 % interval {span(interval)}, {count(len(effect.differences), 'seed')}"
    p = "" if effect.p_adjusted is None else f", p = {size(effect.p_adjusted)} after correction"
    seen = plain(study, effect, metric)
    than = "as" if abs(mean) < NOTHING else "than"
    return f"{seen} {than} with {study.baseline} ({text}{p})"


def by_student(interval: Interval | None, student: Interval | None) -> str:
    """Student's interval, where the bootstrap's alone would say otherwise."""
    if interval is None or student is None or interval.sign == 0 or student.sign != 0:
        return ""
    return f"; with so few seeds Student's t counts too, and its interval includes zero: {span(student)} as a gain"
