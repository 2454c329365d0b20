"""The answer of a study, with the caution it deserves: of each optimizer, or of the first of many and an overview.

Every word is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from altgrad_core.experiments.evidence.amounts import amount, by_student, mean_of
from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import FEWEST_SEEDS, Arm
from altgrad_core.experiments.evidence.cautions import cautions
from altgrad_core.experiments.evidence.effects import EQUIVALENT, LOSS, PERPLEXITY, Effect, in_metric
from altgrad_core.experiments.evidence.heading import without_loss
from altgrad_core.experiments.evidence.overview import leader, overview
from altgrad_core.experiments.evidence.refusals import one_refusal, refusal, unit_of, what_was_seen
from altgrad_core.experiments.evidence.statistics import (
    agreed_sign,
    bootstrap_interval,
    shown_interval,
    student_interval,
)
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import few, listed, sentence, size, span

MOST_APART = 3  # optimizers that have a sentence each; more are told together


@dataclass(frozen=True)
class Answer:
    """What a study says of one metric, and what to bear in mind.

    Attributes:
        refusal: the beginning of the sentence where nothing can be judged: why, whatever the metric.
    """

    sentence: str
    cautions: tuple[str, ...]
    is_ranked: bool = False
    refusal: str = ""


def answer(analysis: Analysis, metric: str = LOSS) -> Answer:
    """Which format benefits most from each optimizer over the baseline.

    Args:
        metric: `loss` or `perplexity`.
    """
    study = analysis.study
    if not any(result.has_ended for result in study.results):
        return Answer("No cell of this study has ended, so there is nothing to say yet.", cautions(analysis, ()))
    if not any(result.validation_loss is not None for result in study.results):
        known = without_loss([result for result in study.results if result.has_ended])
        return Answer(f"{known}, so there is no loss to compare.", cautions(analysis, ()))
    effects = analysis.effects_by(metric)
    if not effects:
        return Answer(_without_comparison(analysis, metric), cautions(analysis, ()))
    main = {optimizer: _main(effects, optimizer) for optimizer in dict.fromkeys(effect.optimizer for effect in effects)}
    shown = [effect for of_it in main.values() for effect in of_it]
    compared = {optimizer: _compared(analysis, of_it) for optimizer, of_it in main.items()}
    if all(effect.lacks for of_it in compared.values() for effect in of_it):
        why = refusal([effect for of_it in compared.values() for effect in of_it])
        words = [why, *what_was_seen(study, compared, metric), *_beside(analysis, shown, metric)]
        return Answer(" ".join(words), cautions(analysis, shown, is_refused=True), refusal=why)
    if len(compared) > MOST_APART:
        first = leader(compared)
        result = [] if first is None else [_about(analysis, first, compared[first], metric)]
        rest = [overview(study, compared, metric, first=first)]
    else:
        result, rest = [_about(analysis, optimizer, of_it, metric) for optimizer, of_it in compared.items()], []
    is_ranked = any(len(_able(of_it)) >= 2 for of_it in compared.values())
    words = [*result, *rest, *_beside(analysis, shown, metric)]
    return Answer(" ".join(words), cautions(analysis, shown), is_ranked)


def _main(effects: Sequence[Effect], optimizer: str) -> list[Effect]:
    """The effects of one optimizer in the variant that has the most pairs."""
    of_it = [effect for effect in effects if effect.optimizer == optimizer]
    pairs: dict[str, int] = {}
    for effect in of_it:
        pairs[effect.variant] = pairs.get(effect.variant, 0) + len(effect.differences)
    chosen = max(pairs, key=lambda variant: pairs[variant])
    return [effect for effect in of_it if effect.variant == chosen]


def _compared(analysis: Analysis, effects: Sequence[Effect]) -> list[Effect]:
    """Those in narrow formats, which the study asks about; all where there are no others."""
    wide = analysis.references
    return [effect for effect in effects if effect.format not in wide] or list(effects)


def _about(analysis: Analysis, optimizer: str, compared: Sequence[Effect], metric: str) -> str:
    """What is said of one optimizer: a ranking of the formats, where two or more can be judged."""
    able = _able(compared)
    if len(able) >= 2:
        return _ranking(analysis, optimizer, able, metric)
    if able and len(compared) == 1:
        return _single(analysis.study, optimizer, able[0], metric)
    return one_refusal(analysis.study, optimizer, compared, metric)


def _able(compared: Sequence[Effect]) -> list[Effect]:
    """Those that can be judged."""
    return [effect for effect in compared if not effect.lacks]


def _ranking(analysis: Analysis, optimizer: str, able: Sequence[Effect], metric: str) -> str:
    study = analysis.study
    ordered = sorted(able, key=lambda effect: -mean_of(effect))
    best = ordered[0]
    alike = [effect for effect in ordered if effect.differences == best.differences and effect.seeds == best.seeds]
    others = [effect for effect in ordered if effect not in alike]
    names = listed([effect.format for effect in alike])
    if not any(any(effect.differences) for effect in able):
        return sentence(f"the optimizer {optimizer} gives exactly the losses of {study.baseline} in {names}")
    beside = analysis.against_unquantized(optimizer)
    if best.verdict == "helps" and beside and not any(contrast.sign > 0 for contrast in beside):
        text = f"no format is shown to gain more from {optimizer} than weights in {beside[0].other}"
        return sentence(f"{text}; the largest gain is in {names}: {amount(study, best, metric)}. {_verdicts(able)}")
    if best.verdict == "helps":
        who = f"format {names} benefits" if len(alike) == 1 else f"formats {names}, with identical effects, benefit"
        text = f"{who} most from {optimizer}: {amount(study, best, metric)}"
        apart = _apart(study, best, others[0], metric) if others else ""
        return sentence(f"{text}{apart}. {_verdicts(able)}")
    if all(effect.verdict == "hurts" for effect in able):
        text = f"the optimizer {optimizer} hurts in every format ranked, least in {names}"
        return sentence(f"{text}: {amount(study, best, metric)}. {_verdicts(able)}")
    text = f"no format is shown to benefit from {optimizer} over {study.baseline}"
    if any(effect.verdict == "helps" for effect in able):
        text = f"it is not clear which format benefits most from {optimizer} over {study.baseline}"
    seen = {"hurts": "is negative", EQUIVALENT: f"is equivalent to zero within {best.margin}"}
    why = f"the most favourable effect, in {names}, {seen.get(best.verdict, 'is not shown to differ from zero')}"
    student = by_student(shown_interval(best), best.student)
    return sentence(f"{text}: {why}: {amount(study, best, metric)}{student}. {_verdicts(able)}")


def _single(study: Study, optimizer: str, effect: Effect, metric: str) -> str:
    alike = f"equals its baseline within {effect.margin}"
    verb = {"helps": "helps", "hurts": "hurts", EQUIVALENT: alike}.get(
        effect.verdict, "is not shown to differ from its baseline"
    )
    text = f"in {effect.format}, the only format, {optimizer} {verb}: {amount(study, effect, metric)}"
    return sentence(text + by_student(shown_interval(effect), effect.student))


def _apart(study: Study, best: Effect, other: Effect, metric: str) -> str:
    """Whether the data separate the first from the second: the difference of their effects, seed by seed."""
    gains = dict(zip(other.seeds, other.differences, strict=True))
    differences = [gain - gains[seed] for seed, gain in zip(best.seeds, best.differences, strict=True) if seed in gains]
    interval, student = bootstrap_interval(differences), student_interval(differences)
    if len(differences) < FEWEST_SEEDS or interval is None or student is None:
        return f"; too few seeds are in common to compare it with the runner-up, {other.format}"
    text = f"{size(interval.mean)}{unit_of(study, metric)[1]} more, 95 % interval {span(interval)}"
    if agreed_sign(len(differences), interval, student) == 1:
        return f", and more than in the runner-up, {other.format} ({text})"
    return f"; the data do not separate it from the runner-up, {other.format} ({text}){by_student(interval, student)}"


def _verdicts(able: Sequence[Effect]) -> str:
    """Where it helps, where it hurts, where it is equivalent, where none of these is shown."""
    by_verdict: dict[str, list[str]] = {"helps": [], "hurts": [], EQUIVALENT: [], "unclear": []}
    alike = f"it equals the baseline within {able[0].margin}"
    for effect in able:
        by_verdict[effect.verdict].append(effect.format)
    for verdict, formats in by_verdict.items():
        if len(formats) == len(able) > 1:
            verb = {"unclear": "an interval includes zero", EQUIVALENT: alike}.get(verdict, f"it {verdict}")
            return sentence(f"{verb} in each of the {len(able)} formats ranked: {listed(formats)}")
    shown = [f"{verb} in {listed(by_verdict[verb])}" for verb in ("helps", "hurts") if by_verdict[verb]]
    unclear = f"an interval includes zero in {listed(by_verdict['unclear'])}" if by_verdict["unclear"] else ""
    same = f"{alike} in {listed(by_verdict[EQUIVALENT])}" if by_verdict[EQUIVALENT] else ""
    return sentence("; ".join(part for part in (f"it {listed(shown)}" if shown else "", same, unclear) if part))


def _beside(analysis: Analysis, shown: Sequence[Effect], metric: str) -> list[str]:
    """What the wide formats reached with the baseline, beside the best of the others."""
    wide, baseline = analysis.references, analysis.study.baseline
    everything = [arm for arm in analysis.arms if arm.optimizer == baseline and arm.losses]
    variants = {effect.variant for effect in shown}
    of_wide = [arm for name in wide for arm in everything if arm.format == name]
    chosen = [arm for arm in of_wide if arm.variant in variants] or of_wide
    first = {name: next((arm for arm in chosen if arm.format == name), None) for name in wide}
    parts = [f"{name} {_level(arm, metric)}" for name, arm in first.items() if arm is not None]
    what, unit = unit_of(analysis.study, metric)
    what = f"{what} (of the mean loss)" if metric == PERPLEXITY else what
    return [sentence(f"for reference, {what} with {baseline}: {listed(parts)}{unit}")] if parts else []


def _level(arm: Arm, metric: str) -> str:
    """What an arm reached: the mean loss, or the perplexity of that mean."""
    value = in_metric(math.fsum(arm.losses.values()) / len(arm.losses), metric)
    return "beyond all bounds" if value is None else f"{value:.4g}"


def _without_comparison(analysis: Analysis, metric: str) -> str:
    """What single arms reached, where there is nothing to compare them with."""
    what, unit = unit_of(analysis.study, metric)
    everything = [arm for arm in analysis.arms if arm.of]
    parts = [f"{arm.label} {_level(arm, metric) if arm.losses else 'diverged'}" for arm in everything]
    optimizers = dict.fromkeys(arm.optimizer for arm in everything)
    why = "all cells have the same optimizer" if len(optimizers) < 2 else "no format has ended with two optimizers"
    reached = [sentence(f"{what}: {few(parts, most=12)}{unit}")] if parts else []
    compared = "no optimizers are compared" if analysis.costs else "nothing is compared"
    return " ".join([sentence(f"{compared}: {why}"), *_of_costs(analysis, metric), *reached])


def _of_costs(analysis: Analysis, metric: str) -> list[str]:
    """What formats and variants cost one optimizer, by verdict; by validation loss alone."""
    if metric != LOSS:
        return []
    by_verdict: dict[str, list[str]] = {}
    for cost in analysis.costs:
        amount = (
            ""
            if (shown := shown_interval(cost)) is None
            else f" by {size(abs(cost.mean))}, 95 % interval {span(shown)}"
        )
        by_verdict.setdefault(cost.verdict, []).append(f"{cost.arm.label} over {cost.reference.label}{amount}")
    return [sentence(f"{verdict}: {few(told, most=12)}") for verdict, told in by_verdict.items()]
