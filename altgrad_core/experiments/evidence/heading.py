"""The answer of a study in at most 12 words."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.costs import Cost
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.study.result import Result
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import count, listed

MOST_WORDS = 12


def heading(analysis: Analysis) -> str:
    """What the study shows, in words that fit on one line; how many seeds it rests on."""
    return next(text for text in _tries(analysis) if len(text.split()) <= MOST_WORDS)


def _tries(analysis: Analysis) -> list[str]:
    """The same with fewer and fewer names; the last is always short enough."""
    ended = [result for result in analysis.study.results if result.has_ended]
    if not ended:
        return ["No cell has ended yet"]
    if all(result.validation_loss is None for result in ended):
        return [without_loss(ended)]
    effects = analysis.effects
    compared = [effect for effect in effects if effect.format not in analysis.references] or list(effects)
    if not compared:
        return _of_one(analysis)
    judged = [effect for effect in compared if not effect.lacks]
    if not judged:
        return _unjudged(compared)
    return [*_judged(analysis, judged), f"See the table: {count(len(judged), 'comparison')} with intervals"]


def without_loss(ended: Sequence[Result]) -> str:
    """What is known of cells that ended, none with a validation loss."""
    number, lost = len(ended), sum(result.status == "diverged" for result in ended)
    if lost == number:
        return "The only cell that ended diverged" if number == 1 else f"All {number} cells that ended diverged"
    if lost:
        return f"No validation loss: {lost} of {number} cells diverged"
    which = "The only cell" if number == 1 else f"All {number} cells"
    return f"{which} finished without a validation loss"


def _of_one(analysis: Analysis) -> list[str]:
    """Where nothing is compared: what was trained."""
    trained = [arm for arm in analysis.arms if arm.losses]
    if len(trained) == 1:
        (arm,) = trained
        loss = sum(arm.losses.values()) / len(arm.losses)
        text = f"validation loss {loss:.4g} ({count(len(arm.losses), 'seed')})"
        return [f"{arm.label}: {text}", f"{arm.optimizer} in {arm.format}: {text}", text.capitalize()]
    if analysis.costs:
        return _of_costs(analysis.costs)
    return [f"{len(trained)} arms: nothing is compared" if trained else "Nothing is compared"]


def _of_costs(costs: Sequence[Cost]) -> list[str]:
    """Where one optimizer was trained in several formats or variants: how many cost something."""
    seeds = sorted({len(cost.differences) for cost in costs})
    number = f"({count(seeds[0], 'seed')})" if len(seeds) == 1 else f"({seeds[0]} to {seeds[-1]} seeds)"
    references = list(dict.fromkeys(cost.reference.format for cost in costs))
    than = listed(references) if len({id(cost.reference) for cost in costs}) == 1 else "their references"
    if all(cost.verdict.startswith("not judged") for cost in costs):
        return [f"Too few seeds to judge costs {number}"]
    costing = [cost for cost in costs if cost.verdict == "costs"]
    if not costing:
        text = f"No arm of {len(costs)} is shown to cost more"
        return [f"{text} than {than} {number}", f"{text} {number}"]
    names, every = [cost.arm.format for cost in costing], [cost.arm.format for cost in costs]
    is_named = all(every.count(name) == 1 for name in names)
    verb = "costs" if len(costing) == 1 else "cost"
    than = than.replace("their references", "its reference") if len(costing) == 1 else than
    return [
        *([f"{listed(names)} {verb} more than {than} {number}"] if is_named else []),
        f"{len(costing)} of {count(len(costs), 'arm')} {verb} more than {than} {number}",
        f"{len(costing)} of {count(len(costs), 'arm')} {verb} more {number}",
    ]


def _unjudged(compared: Sequence[Effect]) -> list[str]:
    pairs = max(len(effect.differences) for effect in compared)
    if pairs == 0:
        return ["No ranking: no pair of runs has ended"]
    if pairs < 3:
        return [f"No ranking: {'one seed is' if pairs == 1 else f'{pairs} seeds are'} not enough evidence"]
    return ["No ranking: too few learning rates or seeds"]


def _judged(analysis: Analysis, judged: Sequence[Effect]) -> list[str]:
    study = analysis.study
    names = list(dict.fromkeys(effect.optimizer for effect in judged))
    number = _seeds(judged)
    helping = [effect for effect in judged if effect.verdict == "helps"]
    beside = [contrast for name in names for contrast in analysis.against_unquantized(name)]
    if helping and beside and not any(contrast.sign > 0 for contrast in beside):
        return [f"No format is shown to gain more than {beside[0].other} {number}"]
    if helping:
        return _shown(study, helping, ("beats", "beat"), names, number)
    if all(effect.verdict == "hurts" for effect in judged):
        return _shown(study, judged, ("loses to", "lose to"), names, number)
    formats = list(dict.fromkeys(effect.format for effect in judged))
    none = (
        f"{names[0]} does not beat" if len(names) == 1 else f"{'Neither' if len(names) == 2 else 'No'} optimizer beats"
    )
    either = " or ".join([", ".join(formats[:-1]), formats[-1]]) if len(formats) > 1 else formats[0]
    return [
        f"{none} {study.baseline} in {either} {number}",
        f"{none} {study.baseline} in any of {len(formats)} formats {number}",
        f"{none} the baseline {number}",
        f"No optimizer beats the baseline {number}",
    ]


def _shown(
    study: Study, result: Sequence[Effect], verbs: tuple[str, str], names: Sequence[str], number: str
) -> list[str]:
    """Which optimizers do what is shown, and in which formats."""
    who, where = (list(dict.fromkeys(getattr(effect, key) for effect in result)) for key in ("optimizer", "format"))
    one, several = verbs
    verb = one if len(who) == 1 else several
    return [
        f"{listed(who)} {verb} {study.baseline} in {listed(where)} {number}",
        f"{listed(who)} {verb} {study.baseline} in {count(len(where), 'format')} {number}",
        f"{len(who)} of {len(names)} optimizers {verb} the baseline {number}",
    ]


def _seeds(judged: Sequence[Effect]) -> str:
    seeds = sorted({len(effect.differences) for effect in judged})
    return f"({count(seeds[0], 'seed')})" if len(seeds) == 1 else f"({seeds[0]} to {seeds[-1]} seeds)"
