"""`altgrad_core.advise`: which format and granularity each layer and role of a model should have, within a budget.

The costs of single operands are taken as if they added up; a negative one counts as none, for it is noise. Under that assumption the best recipe of every size is found
exactly: each operand goes along the lower convex hull of its options, and the steps of all operands are taken in the order
of what they gain for a bit (Shoham and Gersho, 1988). Then recipes of several sizes, and uniform ones, are measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.assembly.written import Chosen, literal, recipe_tables
from altgrad_core.running.evaluation.descent import Descent
from altgrad_core.running.evaluation.sensitivity import Option, Sensitivity, Tell, sensitivities
from altgrad_core.running.evaluation.subject import Subject
from altgrad_core.running.model.bits import mean_bits
from altgrad_core.running.model.recipe import Rule

MOST_POINTS = 12  # recipes of different sizes that are measured


@dataclass(frozen=True)
class Point:
    """One recipe that was measured.

    Attributes:
        is_uniform: whether every operand has the same quantizer.
        bits: of an operand in the mean, see `mean_bits`.
        seen: the loss on the calibration batches, by which recipes are chosen.
        each: the loss of every calibration batch.
        loss: the loss on the validation batches, which took no part in the choice.
    """

    name: str
    is_uniform: bool
    bits: float
    seen: float
    each: tuple[float, ...]
    loss: float
    chosen: Chosen


@dataclass(frozen=True)
class Advice:
    """The recipe that is advised, and what it follows from.

    Attributes:
        budget: in words.
        bits: the budget, where it is one of bits.
        plain: the validation loss of the model as it is.
        plain_seen: its loss on the calibration batches.
        points: all recipes that were measured, by bits.
        operands: what every operand costs alone.
        descent: the steps that losses were measured after.
    """

    budget: str
    bits: float | None
    advised: Point
    plain: float
    plain_seen: float
    unit: str
    points: tuple[Point, ...]
    operands: tuple[Sensitivity, ...]
    descent: Descent

    def recipe(self) -> list[dict[str, Any]]:
        """The `[[recipe]]` tables of a manifest."""
        return recipe_tables(self.advised.chosen)

    def rules(self) -> list[Rule]:
        """The recipe for `quantize_model`."""
        return rules_of(self.advised.chosen)

    @property
    def beaten_by(self) -> tuple[Point, ...]:
        """Uniform recipes within the bits of the budget, or of the recipe, that have a smaller validation loss."""
        return tuple(point for point in self.rivals if point.loss < self.advised.loss)

    @property
    def rivals(self) -> tuple[Point, ...]:
        """Other uniform recipes within the bits of the budget, or of the recipe."""
        most = self.advised.bits if self.bits is None else self.bits
        return tuple(p for p in self.points if p.is_uniform and p.bits <= most and p is not self.advised)


def advise_for(
    subject: Subject,
    candidates: Sequence[Quantizer],
    *,
    bits: float | None = None,
    loss_above: float | None = None,
    tell: Tell = lambda done, total: None,
) -> Advice:
    """The recipe with the smallest loss within a number of bits, or the smallest one within a loss.

    Args:
        bits: of an operand in the mean, at most.
        loss_above: that of the model as it is, at most.

    Raises:
        ManifestError: not exactly one budget is given, or no recipe is within it.
    """
    if (bits is None) == (loss_above is None):
        raise ManifestError("advise: give one budget, either bits or loss_above")
    operands = sensitivities(subject, candidates, tell)
    if not operands:
        raise ManifestError("advise: the model has no layer that can be quantized")
    seen = subject.plain(subject.calibration)
    points = tuple(sorted(_measured(subject, operands, candidates, bits), key=lambda p: (p.bits, p.seen)))
    if bits is not None:
        advised, budget = _best_within(points, bits), f"at most {bits:g} bits"
    else:
        assert loss_above is not None
        advised = _smallest_within(points, seen.each, loss_above)
        budget = f"a loss at most {loss_above:g} above that of the model as it is"
    return Advice(
        budget, bits, advised, subject.plain().loss, seen.loss, subject.task.unit, points, tuple(operands),
        subject.descent,
    )  # fmt: skip


def _best_within(points: Sequence[Point], bits: float) -> Point:
    """The smallest loss; a mixed recipe only where it is shown to be better than the best uniform one."""
    within = [point for point in points if point.bits <= bits]
    if not within:
        raise ManifestError(
            f"advise: no recipe has {bits:g} bits or fewer; the smallest has {points[0].bits:.2f}. Raise the budget, or add "
            "a smaller format"
        )
    best = min(within, key=lambda point: (point.seen, point.bits))
    uniform = min(
        (point for point in within if point.is_uniform), key=lambda point: (point.seen, point.bits), default=best
    )
    gain, error = difference(uniform.each, best.each)
    return best if gain > error else uniform


def _smallest_within(points: Sequence[Point], plain: Sequence[float], above: float) -> Point:
    """The fewest bits, where the loss is within the budget by its standard error."""
    costs = [difference(point.each, plain) for point in points]
    within = [point for point, (cost, error) in zip(points, costs, strict=True) if cost + error <= above]
    if not within:
        least = min(cost + error for cost, error in costs)
        raise ManifestError(
            f"advise: no recipe is within {above:g} of the loss of the model as it is; the best is {least:.4g} above it, "
            "its standard error included. Raise the budget, add a larger format, or take more batches"
        )
    return min(within, key=lambda point: (point.bits, point.seen))


def difference(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """The mean difference over the same batches, and its standard error; with one batch, 0."""
    pairs = [a - b for a, b in zip(one, other, strict=True)]
    mean = sum(pairs) / len(pairs)
    if len(pairs) == 1:
        return mean, 0.0
    variance = sum((pair - mean) ** 2 for pair in pairs) / (len(pairs) - 1)
    return mean, math.sqrt(variance / len(pairs))


def rules_of(chosen: Chosen) -> list[Rule]:
    """A rule for every layer."""
    named: dict[str, dict[str, Any]] = {path: {str(r): q for r, q in roles.items()} for path, roles in chosen.items()}
    return [Rule(literal(path), **roles) for path, roles in named.items()]


def _measured(
    subject: Subject, operands: Sequence[Sensitivity], candidates: Sequence[Quantizer], bits: float | None
) -> Iterator[Point]:
    """Uniform recipes, and mixed ones of several sizes."""
    sizes = {(operand.layer, operand.role): operand.size for operand in operands}
    for index in range(len(candidates)):
        chosen = _together((operand, operand.options[index]) for operand in operands)
        yield _point(subject, str(operands[0].options[index]), chosen, is_uniform=True)
    recipes = [(mean_bits(sizes, chosen), chosen) for chosen in _mixed(operands)]
    for place, chosen in enumerate(_spread(recipes, bits)):
        yield _point(subject, f"mixed {place + 1}", chosen, is_uniform=False)


def _point(subject: Subject, name: str, chosen: Chosen, *, is_uniform: bool) -> Point:
    seen = subject.measure(name, rules_of(chosen), batches=subject.calibration)
    loss = subject.measure(name, rules_of(chosen)).loss
    return Point(name, is_uniform, seen.bits, seen.loss, seen.each, loss, chosen)


def _mixed(operands: Sequence[Sensitivity]) -> Iterator[Chosen]:
    """The best recipe of every size, if costs add up; the smallest first."""
    hulls = [hull(operand.options) for operand in operands]
    at = [0] * len(operands)
    steps = [
        ((before.above - after.above) / ((after.bits - before.bits) * operand.size.multiply_adds), place)
        for place, (operand, own) in enumerate(zip(operands, hulls, strict=True))
        for before, after in pairwise(own)
    ]
    yield _together((operand, own[0]) for operand, own in zip(operands, hulls, strict=True))
    for _, place in sorted(steps, key=lambda step: -step[0]):
        at[place] += 1
        yield _together((operand, own[i]) for operand, own, i in zip(operands, hulls, at, strict=True))


def hull(options: Sequence[Option]) -> list[Option]:
    """The options on the lower convex hull of loss over bits, as long as the loss falls; the smallest first."""
    result: list[Option] = []
    clipped = [replace(option, above=max(option.above, 0.0)) for option in options]
    for option in sorted(clipped, key=lambda option: (option.bits, option.above)):
        if result and (option.bits == result[-1].bits or option.above >= result[-1].above):
            continue
        while len(result) > 1 and _slope(result[-2], result[-1]) >= _slope(result[-2], option):
            result.pop()
        result.append(option)
    return result


def _slope(a: Option, b: Option) -> float:
    return (b.above - a.above) / (b.bits - a.bits)


def _together(pairs: Any) -> Chosen:
    chosen: dict[str, dict[Role, Quantizer]] = {}
    for operand, option in pairs:
        chosen.setdefault(operand.layer, {})[operand.role] = option.quantizer
    return chosen


def _spread(sizes: Sequence[tuple[float, Chosen]], bits: float | None) -> list[Chosen]:
    """At most so many recipes, spread evenly over the bits; and the largest one within a budget of bits."""
    smallest, largest = sizes[0][0], sizes[-1][0]
    budgets = [smallest + (largest - smallest) * n / (MOST_POINTS - 1) for n in range(MOST_POINTS)]
    kept = {min(range(len(sizes)), key=lambda i: abs(sizes[i][0] - size)) for size in budgets}
    kept |= {max((i for i in range(len(sizes)) if bits is not None and sizes[i][0] <= bits), default=0)}
    return [sizes[index][1] for index in sorted(kept)]
