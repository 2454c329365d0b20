"""What to bear in mind with an answer: seeds, tuning, divergence, chance, and what was not run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import FEWEST_SEEDS, Arm
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.plain_rates import unequal_rates
from altgrad_core.experiments.evidence.statistics import CONFIDENCE, FEWEST_PAIRS, most_coverage, smallest_p
from altgrad_core.experiments.study.reading import CELLS
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import count, few, listed, sentence, size

BAD = ("crashed", "stopped", "unfinished", "missing")


def cautions(analysis: Analysis, shown: Sequence[Effect], *, is_refused: bool = False) -> tuple[str, ...]:
    """Sentences on the effects that an answer shows; what an answer that refuses has said itself is left out."""
    study = analysis.study
    result = [*_on_files(study), *unequal_rates(study, shown)]
    result += [] if is_refused else _on_seeds(shown)
    result += [
        *_on_tuning(shown, is_refused=is_refused),
        *_on_rates_without_effect(analysis),
        *_on_divergence(analysis, shown),
        *_on_chance(shown),
    ]
    result += [
        *_on_what_was_learned(analysis),
        *_on_left_out(shown),
        *_on_gaps(study),
        *_on_variants(analysis, shown),
        *_on_soundness(study),
        *_on_size(study),
    ]
    return tuple(sentence(text) for text in result)


def _on_files(study: Study) -> Iterator[str]:
    """What is wrong with the list of the cells, so that it is not known which there should be."""
    about = (f"{study.directory / CELLS}: ", f"{study.directory}: ", "the baseline ")
    yield from (problem for problem in study.problems if problem.startswith(about))


def _on_seeds(shown: Sequence[Effect]) -> Iterator[str]:
    pairs = [len(effect.differences) for effect in shown]
    if not any(pairs):
        return
    few_pairs, most_pairs = min(pairs), max(pairs)
    number = count(most_pairs, "seed") if few_pairs == most_pairs else f"{few_pairs} to {most_pairs} seeds"
    if most_pairs == 1:
        yield "one seed: not evidence"
    elif few_pairs < FEWEST_PAIRS:
        fewest = min(pair for pair in pairs if pair > 1)
        yield (
            f"{number}: p-values need {FEWEST_PAIRS} pairs, and a bootstrap interval of {fewest} covers the true "
            "centre in at "
            f"most {100 * most_coverage(fewest):.0f} % of studies instead of 95 %, so helps and hurts also need Student's t"
        )
    else:
        yield f"{number}; helps and hurts need a bootstrap interval and a Student's t interval that agree"


def _on_tuning(shown: Sequence[Effect], *, is_refused: bool) -> Iterator[str]:
    both = _both(shown)
    if not both:
        return
    rates = [len(arm.tried) for arm in both]
    text = f"{min(rates)}" if min(rates) == max(rates) else f"{min(rates)} to {max(rates)}"
    if max(rates) > 1:
        yield f"{text} learning rates tried for each optimizer and format"
    elif all(arm.is_declared for arm in both):
        yield "each optimizer has the one learning rate that was declared before training"
    elif not is_refused:
        yield "no learning rate was tuned"
    if at_ends := [arm for arm in both if arm.is_swept and arm.is_at_an_end and len({p.mean for p in arm.tried}) > 1]:
        names = few([f"{arm.label} ({arm.end} of {len(arm.window)}, {size(arm.rate or 0)})" for arm in at_ends])
        yield f"the best rate is at an end of the range, so a better one may lie beyond it: {names}"
    if max(rates) > 1 and any(len(effect.differences) >= FEWEST_SEEDS for effect in shown):
        yield "each seed is judged at the rate that the other seeds choose, so the rate is not chosen by its own result"
        if any(len({point.of for point in arm.tried}) > 1 for arm in both):
            yield "only some seeds tried the widest range of rates; their results chose the rates for all seeds"
    elif max(rates) > 1:
        yield "the rates were chosen with the same seeds that are compared, which favours both sides"


def _both(shown: Sequence[Effect]) -> list[Arm]:
    """The arms on either side, each once."""
    result: list[Arm] = []
    for effect in shown:
        result += [arm for arm in (effect.against, effect.arm) if arm is not None and arm not in result]
    return result


def _on_divergence(analysis: Analysis, shown: Sequence[Effect]) -> Iterator[str]:
    if any(result.status == "diverged" for result in analysis.study.results):
        yield diverged(analysis.study)
    everything = _both(shown) or analysis.arms
    if at_best := [arm for arm in everything if arm.diverged]:
        names = few([f"{arm.label} ({arm.diverged} of {arm.of})" for arm in at_best])
        yield f"some diverged even at their best rate: {names}"
    if broken := [effect for effect in shown if effect.diverged_seeds]:
        names = few([f"{e.optimizer} in {e.format}, seed {listed(e.diverged_seeds)}" for e in broken])
        yield f"pairs with a diverged side have no difference and are not in the mean: {names}"


def diverged(study: Study) -> str:
    """How many of the cells that ended diverged, and how many of these only looked for the largest stable rate."""
    ended = [result for result in study.results if result.has_ended]
    lost = [result for result in ended if result.status == "diverged"]
    probes = sum(result.role != "cell" for result in lost)
    all_of_them = "" if len(lost) == 1 else "all "
    which = f"{probes} of them " if probes < len(lost) else all_of_them
    search = f", {which}in the search for the largest stable rate" if probes else ""
    return f"diverged: {len(lost)} of {count(len(ended), 'cell')} that ended{search}"


def _on_chance(shown: Sequence[Effect]) -> Iterator[str]:
    judged = [effect for effect in shown if len(effect.differences) >= FEWEST_SEEDS]
    if len(judged) > 1:
        expected = (1 - CONFIDENCE) * len(judged)
        yield (
            f"the intervals of {len(judged)} effects are not corrected for their number: without any real effect, about "
            f"{expected:.2g} of them would still seem to help or hurt"
        )
    if tested := [effect for effect in shown if effect.p_adjusted is not None]:
        passed = [f"{e.optimizer} in {e.format}" for e in tested if e.p_adjusted is not None and e.p_adjusted < 0.05]
        least = min(smallest_p(len(effect.differences)) for effect in tested) * len(tested)
        text = (
            f"exact paired permutation tests, corrected for {count(len(tested), 'comparison')} (Holm): p is below 0.05 "
        )
        yield text + (f"in {few(passed)}" if passed else "in none" + _out_of_reach(least))


def _out_of_reach(least: float) -> str:
    return f"; with so few seeds the smallest possible p is {min(1.0, least):.2g}" if least >= 0.05 else ""


def _on_rates_without_effect(analysis: Analysis) -> Iterator[str]:
    """A rate that is not used, as that of a grid optimizer on weights without a grid: what takes the steps there is another one."""
    arms = [arm for arm in analysis.arms if _is_same_at_all_rates(arm)]
    if arms:
        yield (
            f"the learning rate that was searched has no effect on {few([arm.label for arm in arms])}: the losses are the same at "
            "all rates, so this is another step than elsewhere (without a format of the weights there is no grid, and the option "
            "plain_lr is the rate; geometry gives the step a grid)"
        )


def _is_same_at_all_rates(arm: Arm) -> bool:
    """Whether every seed that tried several rates ended with one loss."""
    by_seed: dict[int, list[float]] = {}
    for point in arm.tried:
        for seed, loss in point.losses.items():
            by_seed.setdefault(seed, []).append(loss)
    several = [losses for losses in by_seed.values() if len(losses) > 1]
    return bool(several) and all(min(losses) == max(losses) for losses in several)


def _on_what_was_learned(analysis: Analysis) -> Iterator[str]:
    """Models that a simple predictor beats may behave otherwise than those that have learned more."""
    means = [fmean(arm.losses.values()) for arm in analysis.arms if arm.losses]
    ahead = [(name, loss) for name, loss in analysis.study.reference_losses.items() if means and loss < min(means)]
    if ahead:
        name, loss = ahead[0]
        yield (
            f"the lowest mean loss, {min(means):.4f}, is above that of a {name}, {loss:.4f}: models that have learned more "
            "may differ in other ways"
        )


def _on_left_out(shown: Sequence[Effect]) -> Iterator[str]:
    able = [effect for effect in shown if not effect.lacks]
    lacking = [effect for effect in shown if effect.lacks]
    if able and lacking:
        names = few([f"{effect.optimizer} in {effect.format} ({'; '.join(effect.lacks)})" for effect in lacking])
        yield f"not ranked: {names}"


def _on_gaps(study: Study) -> Iterator[str]:
    counts = Counter(result.status for result in study.results)
    if gaps := [f"{counts[status]} {status}" for status in BAD if counts[status]]:
        missing = sum(counts[status] for status in BAD)
        verb = "has" if missing == 1 else "have"
        yield f"{missing} of {count(counts.total(), 'cell')} {verb} no result: {listed(gaps)}"


def _on_variants(analysis: Analysis, shown: Sequence[Effect]) -> Iterator[str]:
    study, wide = analysis.study, analysis.references
    variants = list(dict.fromkeys(arm.variant for arm in analysis.arms if arm.format not in wide))
    used = dict.fromkeys(effect.variant for effect in shown)
    others = [_variant(study, variant) or "without any of these" for variant in variants if variant not in used]
    if shown and others:
        parts = [_variant(study, variant) or "none" for variant in used]
        which = f"one variant, {parts[0]}" if len(parts) == 1 else f"the variants {listed(parts)}"
        yield f"the answer is for {which}; not for: {few(others)}"


def _variant(study: Study, variant: str) -> str:
    """Its name and what that sets."""
    return f"{variant} ({study.variants[variant]})" if variant in study.variants else variant


def _on_soundness(study: Study) -> Iterator[str]:
    """That nothing diverged is told as well, after what speaks against the answer."""
    ended = [result.status for result in study.results if result.has_ended]
    if ended and "diverged" not in ended:
        yield diverged(study)


def _on_size(study: Study) -> Iterator[str]:
    """How small the study is: its results may not hold elsewhere."""
    ended = [result for result in study.results if result.has_ended]
    known = [result for result in ended if result.manifest]
    sizes = {size for result in ended if isinstance(size := result.summary.get("parameters"), int)}
    steps = {steps for result in known if isinstance(steps := result.manifest["run"].get("steps"), int)}
    data = {str(result.manifest["data"].get("use")) for result in known}
    if sizes and steps:
        text = f"{_range(sizes)} parameters, {_range(steps)} steps, {listed(sorted(data))}"
        yield f"the study covers {text}, with formats emulated in float32; its results may not hold elsewhere"


def _range(values: set[int]) -> str:
    return f"{min(values):,}" if len(values) == 1 else f"{min(values):,} to {max(values):,}"
