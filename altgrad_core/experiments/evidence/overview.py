"""The answer where many optimizers are compared: which help, which hurt, and in which formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from altgrad_core.experiments.evidence.amounts import amount, by_student, mean_of
from altgrad_core.experiments.evidence.effects import EQUIVALENT, Effect
from altgrad_core.experiments.evidence.statistics import shown_interval
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import few, listed, sentence

Told = Mapping[str, Sequence[Effect]]


def leader(compared: Told) -> str | None:
    """The optimizer that is shown to help in the most formats, of equals the one with the largest effect.

    None where no such optimizer has a ranking of formats, or was run in one alone.
    """
    ranked = {name: of_it for name, of_it in compared.items() if len(of_it) == 1 or sum(not e.lacks for e in of_it) > 1}
    helping = {name: [effect for effect in of_it if _is_shown(effect, "helps")] for name, of_it in ranked.items()}
    gains = {name: (len(of_it), max(map(mean_of, of_it))) for name, of_it in helping.items() if of_it}
    return max(gains, key=lambda name: gains[name]) if gains else None


def overview(study: Study, compared: Told, metric: str, *, first: str | None) -> str:
    """All optimizers, or all but the first, by what is shown of them.

    Args:
        asked: of each optimizer its effects, one for each format; some can be judged.
        first: the one that was told before.
    """
    rest = {optimizer: of_it for optimizer, of_it in compared.items() if optimizer != first}
    able = {optimizer: [effect for effect in of_it if not effect.lacks] for optimizer, of_it in rest.items()}
    judged = {optimizer: of_it for optimizer, of_it in able.items() if of_it}
    same = [optimizer for optimizer, of_it in judged.items() if not any(any(e.differences) for e in of_it)]
    shown = [effect for of_it in judged.values() for effect in of_it]
    silent = [name for name, of_it in judged.items() if name not in same and _all_unclear(of_it)]
    unjudged = [name for name in rest if name not in judged]
    parts = [
        _head(study, rest, judged, metric, first),
        *(_shown(verb, [effect for effect in shown if _is_shown(effect, verb)]) for verb in ("helps", "hurts")),
        *_equal(shown),
        f"an interval includes zero in every format: {listed(silent)}" if silent else "",
        f"exactly the losses of {study.baseline}: {listed(same)}" if same else "",
        f"too few runs to judge {listed(unjudged)}" if unjudged else "",
    ]
    return " ".join(sentence(part) for part in parts if part)


def _is_shown(effect: Effect, verb: str) -> bool:
    return not effect.lacks and effect.verdict == verb


def _equal(shown: Sequence[Effect]) -> list[str]:
    """Which equal the baseline within the margin."""
    equal = [effect for effect in shown if effect.verdict == EQUIVALENT]
    names = few([f"{effect.optimizer} in {effect.format}" for effect in equal])
    return [f"equal to the baseline within {equal[0].margin}: {names}"] if equal else []


def _all_unclear(effects: Sequence[Effect]) -> bool:
    return all(effect.verdict == "unclear" for effect in effects)


def _head(study: Study, rest: Told, judged: Told, metric: str, first: str | None) -> str:
    """How many are told together; or that none helps, with the most favourable effect of all."""
    everything = [effect for of_it in judged.values() for effect in of_it]
    if first is not None or any(effect.verdict == "helps" for effect in everything):
        return f"{len(rest)} {'others' if first else 'optimizers'} are compared with {study.baseline}"
    best = max(everything, key=mean_of)
    formats = listed(list(dict.fromkeys(effect.format for effect in everything)))
    none = f"none of the {len(judged)} optimizers judged is shown to gain over {study.baseline} in {formats}"
    text = f"{amount(study, best, metric)}{by_student(shown_interval(best), best.student)}"
    return f"{none}; the most favourable effect is that of {best.optimizer} in {best.format}: {text}"


def _shown(verb: str, effects: Sequence[Effect]) -> str:
    """Which optimizers help, or hurt, and in which formats; the largest mean effects first."""
    formats: dict[str, list[str]] = {}
    for effect in sorted(effects, key=lambda effect: -abs(mean_of(effect))):
        formats.setdefault(effect.optimizer, []).append(effect.format)
    return f"{verb}: {'; '.join(f'{name} in {few(where)}' for name, where in formats.items())}" if formats else ""
