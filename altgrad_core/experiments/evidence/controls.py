"""Controls: runs that must be the same, and arms that differ in one thing besides format and optimizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.statistics import (
    agreed_sign,
    bootstrap_interval,
    shown_interval,
    student_interval,
)
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.labels import Defaults, default_of
from altgrad_core.experiments.study.study import Result, Study
from altgrad_core.experiments.study.variants import words
from altgrad_core.experiments.study.wording import count, few, sentence, size, span

Key = tuple[str, str, float | None, int | None]


@dataclass(frozen=True)
class Sameness:
    """How many runs of one format (or optimizer) are those of another, number by number.

    Attributes:
        difference: where the first pair that is not the same begins to differ, in words.
    """

    one: str
    other: str
    pairs: int
    identical: int
    difference: str | None

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        if not self.pairs:
            return f"No run of {self.one} and {self.other} can be paired, so whether they are the same is not known."
        if self.difference is None:
            return f"{self.one} and {self.other}: the losses are identical, bit for bit, in all {count(self.pairs, 'pair')}."
        return f"{self.one} and {self.other}: identical in {self.identical} of {count(self.pairs, 'pair')}; {self.difference}."


def first_difference(one: Result, other: Result) -> str | None:
    """Where the recorded losses of two runs begin to differ, in words; None where every one is the same number."""
    for what, ours, theirs in (
        ("training loss", one.run_summary.losses, other.run_summary.losses),
        ("validation loss", one.run_summary.evaluations, other.run_summary.evaluations),
    ):
        for step in sorted({*ours, *theirs}):
            here, there = (repr(losses.get(step, "absent")) for losses in (ours, theirs))
            if here != there:
                return f"the first difference is in the {what} of step {step}: {here} against {there}"
    return None


def same_grids_of(study: Study, twins: Sequence[tuple[str, str]]) -> tuple[Sameness, ...]:
    """For formats that are one grid up to a power of two: whether their runs are the same, as they must be."""
    by_format = {name: _keyed(study, format=name) for name in study.formats()}
    return tuple(_sameness(one, other, by_format[one], by_format[other]) for one, other in twins)


def same_optimizers_of(study: Study) -> tuple[Sameness, ...]:
    """Optimizers, or options of one, that gave the same runs at the same rate wherever they were paired."""
    names = study.optimizers()
    by_name = {name: _keyed(study, optimizer=name) for name in names}
    result = [
        _sameness(one, other, by_name[one], by_name[other])
        for index, one in enumerate(names)
        for other in names[index + 1 :]
    ]
    return tuple(same for same in result if same.pairs and same.identical == same.pairs)


def _keyed(study: Study, *, format: str | None = None, optimizer: str | None = None) -> dict[Key, Result]:
    """The cells of a format or of an optimizer by all else; those that recorded a loss."""
    cells = [
        result
        for result in study.results
        if (result.format == format or result.optimizer == optimizer) and result.has_ended and result.run_summary.losses
    ]
    return {(r.optimizer if format else r.format, r.variant, r.rate, r.seed): r for r in cells}


def _sameness(one: str, other: str, ours: Mapping[Key, Result], theirs: Mapping[Key, Result]) -> Sameness:
    pairs = {key: first_difference(ours[key], theirs[key]) for key in ours if key in theirs}
    differing = [f"{ours[key].name}: {where}" for key, where in pairs.items() if where is not None]
    return Sameness(one, other, len(pairs), len(pairs) - len(differing), differing[0] if differing else None)


@dataclass(frozen=True)
class Contrast:
    """Two arms that differ in one key, each at its rate, paired by seed.

    Attributes:
        differences: the loss of `one` less that of `other`: above zero, `other` is better.
    """

    key: str
    one: str
    other: str
    arms: tuple[Arm, Arm]
    differences: tuple[float, ...]
    interval: Interval | None
    student: Interval | None

    @property
    def sign(self) -> int:
        """+1 where `other` is shown to be better, -1 where it is shown to be worse, else 0."""
        return agreed_sign(len(self.differences), self.interval, self.student)


def contrasts_of(study: Study, arms: Sequence[Arm]) -> tuple[Contrast, ...]:
    """Every pair of arms of one format that differ in one option of the optimizer or one key of the variant."""
    placed = [(arm, _parts(arm, study.variants)) for arm in arms]
    result = []
    for index, (arm, parts) in enumerate(placed):
        for other, others in placed[index + 1 :]:
            if (arm.format, parts.use) == (other.format, others.use):
                keys = [key for key in {**parts.keys, **others.keys} if parts.keys.get(key) != others.keys.get(key)]
                result += [_contrast(keys[0], arm, other, parts, others, study.defaults)] if len(keys) == 1 else []
    return tuple(result)


class _Parts(NamedTuple):
    use: str
    keys: dict[str, str]


def _parts(arm: Arm, variants: Mapping[str, str]) -> _Parts:
    use, _, options = arm.optimizer.partition(" (")
    return _Parts(use, {**words(options.removesuffix(")")), **words(variants.get(arm.variant, arm.variant))})


def _contrast(key: str, arm: Arm, other: Arm, parts: _Parts, others: _Parts, defaults: Defaults) -> Contrast:
    pairs = [(arm.held_out[seed].loss, other.held_out[seed].loss) for seed in arm.held_out if seed in other.held_out]
    values = tuple(a - b for a, b in pairs if a is not None and b is not None)
    default = default_of(defaults, parts.use, key)
    names = (parts.keys.get(key, default), others.keys.get(key, default))
    return Contrast(key, *names, (arm, other), values, bootstrap_interval(values), student_interval(values))


def contrast_sentences(contrasts: Sequence[Contrast], unit: str) -> tuple[str, ...]:
    """A sentence for every two values of a key: where the second is better, where worse, where neither can be told."""
    result: dict[tuple[str, str, str], list[Contrast]] = {}
    for contrast in contrasts:
        result.setdefault((contrast.key, contrast.one, contrast.other), []).append(contrast)
    return tuple(
        sentence(f"{key}, {other} against {one}: {'; '.join(_clauses(other, members, unit))}")
        for (key, one, other), members in result.items()
    )


def _clauses(other: str, members: Sequence[Contrast], unit: str) -> Iterator[str]:
    for sign, verb in ((1, f"{other} is better"), (-1, f"{other} is worse")):
        if shown := [f"{_place(c)} ({_by(c, unit)})" for c in members if c.sign == sign]:
            yield f"{verb} {few(shown)}"
    if unclear := [f"{_place(c)} ({_by(c, unit)})" for c in members if c.sign == 0 and c.differences]:
        yield f"no difference is shown {few(unclear)}"
    if silent := [_place(c) for c in members if not c.differences]:
        yield f"no pair has ended {few(silent)}"


def _place(contrast: Contrast) -> str:
    return f"in {contrast.arms[0].format} with {contrast.arms[0].optimizer.partition(' (')[0]}"


def _by(contrast: Contrast, unit: str) -> str:
    mean = sum(contrast.differences) / len(contrast.differences)
    text = f"{size(mean)} {unit}"
    if (shown := shown_interval(contrast)) is not None:
        text += f", 95 % interval {span(shown)}"
    return f"{text}, {count(len(contrast.differences), 'seed')}"
