"""The answer where many optimizers are compared: which help, which hurt, and in which formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from altgrad_core.experiments.evidence.amounts import amount, by_student, mean_of
from altgrad_core.experiments.evidence.effects import Effect
from altgrad_core.experiments.evidence.wording import few, listed, sentence
from altgrad_core.experiments.study.study import Study

Told = Mapping[str, Sequence[Effect]]


def overview(study: Study, asked: Told, metric: str) -> str:
    """The largest effect, and all optimizers by what is shown of them.

    Args:
        asked: of each optimizer its effects, one for each format; some can be judged.
    """
    able = {optimizer: [effect for effect in of_it if not effect.lacks] for optimizer, of_it in asked.items()}
    judged = {optimizer: of_it for optimizer, of_it in able.items() if of_it}
    same = [optimizer for optimizer, of_it in judged.items() if not any(any(e.differences) for e in of_it)]
    told = {optimizer: of_it for optimizer, of_it in judged.items() if optimizer not in same}
    shown = [effect for of_it in told.values() for effect in of_it if effect.verdict != "unclear"]
    silent = [optimizer for optimizer, of_it in told.items() if all(e.verdict == "unclear" for e in of_it)]
    parts = [
        _first(study, judged, metric),
        *(_shown(verb, [effect for effect in shown if effect.verdict == verb]) for verb in ("helps", "hurts")),
        f"cannot be told from no effect in any format: {listed(silent)}" if silent else "",
        f"exactly the losses of {study.baseline}: {listed(same)}" if same else "",
        f"too little was run to judge {listed([name for name in asked if name not in judged])}"
        if judged != able
        else "",
    ]
    return " ".join(sentence(part) for part in parts if part)


def _first(study: Study, judged: Told, metric: str) -> str:
    """The most favourable effect of all."""
    everything = [effect for of_it in judged.values() for effect in of_it]
    helping = [effect for effect in everything if effect.verdict == "helps"]
    best = max(helping or everything, key=mean_of)
    formats = listed(list(dict.fromkeys(effect.format for effect in everything)))
    told = amount(study, best, metric)
    if helping:
        first = f"of {len(judged)} optimizers compared with {study.baseline} in {formats}"
        return f"{first}, the one that gains most is {best.optimizer}, in {best.format}: {told}"
    none = f"none of {len(judged)} optimizers is shown to gain over {study.baseline} in {formats}"
    student = by_student(best.interval, best.student)
    return f"{none}; the most favourable effect is that of {best.optimizer} in {best.format}: {told}{student}"


def _shown(verb: str, effects: Sequence[Effect]) -> str:
    """Which optimizers help, or hurt, and in which formats; the largest mean effects first."""
    formats: dict[str, list[str]] = {}
    for effect in sorted(effects, key=lambda effect: -abs(mean_of(effect))):
        formats.setdefault(effect.optimizer, []).append(effect.format)
    return f"{verb}: {'; '.join(f'{name} in {few(where)}' for name, where in formats.items())}" if formats else ""
