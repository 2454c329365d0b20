"""What recipes cost that treat layers differently."""

from __future__ import annotations

from collections.abc import Sequence

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.evidence.statistics import agreed_sign, bootstrap_interval, student_interval
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.variants import words
from altgrad_core.experiments.study.wording import count, few, sentence, size, span


def recipe_sentences(analysis: Analysis) -> tuple[str, ...]:
    """The losses of recipes that treat layers differently and are alike in all else, and whether the best stands apart."""
    study = analysis.study
    alike: dict[tuple[str, str, str], list[Arm]] = {}
    for arm in analysis.arms:
        if arm.losses:
            alike.setdefault((arm.optimizer, arm.format.partition(" (")[0], _rest(study, arm)), []).append(arm)
    result = []
    for (optimizer, _, _), members in alike.items():
        ordered = sorted(members, key=_mean)
        if len(ordered) > 1 and _is_mixed(study, ordered):
            parts = [f"{_recipe(arm)} {_mean(arm):.4g} ({count(len(arm.losses), 'seed')})" for arm in ordered]
            result.append(sentence(f"with {optimizer}, {study.unit} by recipe: {few(parts)}; {_lead(*ordered[:2])}"))
    return tuple(result)


def _layers_of(study: Study, arm: Arm) -> tuple[str, ...]:
    """The layers of the rules of an arm's recipe."""
    place = (arm.format, arm.optimizer, arm.variant)
    own = [r.manifest for r in study.results if (r.format, r.optimizer, r.variant) == place and r.manifest]
    return tuple(rule["layers"] for rule in own[0].get("recipe", [])) if own else ()


def _is_mixed(study: Study, members: Sequence[Arm]) -> bool:
    """Whether the recipes of these arms treat layers differently."""
    kinds = {layers for arm in members if (layers := _layers_of(study, arm))}
    return len(kinds) > 1 or any(" (" in arm.format for arm in members)


def _rest(study: Study, arm: Arm) -> str:
    """What varies besides the layers of rules."""
    text = words(study.variants.get(arm.variant, arm.variant))
    return ", ".join(f"{key}={value}" for key, value in text.items() if key.rpartition(".")[2] != "layers")


def _mean(arm: Arm) -> float:
    return sum(arm.losses.values()) / len(arm.losses)


def _recipe(arm: Arm) -> str:
    return f"{arm.format} [{arm.variant}]" if arm.variant else arm.format


def _lead(best: Arm, second: Arm) -> str:
    """Whether the first is shown to be better than the second, over the seeds they share."""
    both = [(second.held_out[s].loss, best.held_out[s].loss) for s in best.held_out if s in second.held_out]
    values = [theirs - own for theirs, own in both if theirs is not None and own is not None]
    interval, student = bootstrap_interval(values), student_interval(values)
    if interval is None:
        return "too few seeds to compare the first with the second"
    text = f"{size(interval.mean)} apart, 95 % interval {span(interval)}, {count(len(values), 'seed')}"
    is_apart = agreed_sign(len(values), interval, student) == 1
    return f"the first is {'better than' if is_apart else 'not told from'} the second ({text})"
