"""Why formats are not ranked: the verdict first, then what was seen all the same, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from altgrad_core.experiments.evidence.arms import FEWEST_RATES, FEWEST_SEEDS
from altgrad_core.experiments.evidence.effects import LOSS, Effect
from altgrad_core.experiments.study.study import Study
from altgrad_core.experiments.study.wording import few, listed, sentence, size

NOTHING = 1e-9  # what adding up floats in another order may leave


def unit_of(study: Study, metric: str) -> tuple[str, str]:
    """What `loss` or `perplexity` is called, and its unit after a space."""
    return ("validation loss", f" {study.unit}") if metric == LOSS else ("perplexity", "")


def refusal(every: Sequence[Effect]) -> str:
    """Where no effect can be judged: why, in short, and what a ranking needs."""
    why = ", and ".join(_short(every))
    return f"{sentence(f'no ranking: {why}')} {sentence(_needed(every))}"


def what_was_seen(study: Study, compared: Mapping[str, Sequence[Effect]], metric: str) -> list[str]:
    """What each optimizer was seen to do, without a verdict; nothing where no pair ended."""
    seen = [text for optimizer, of_it in compared.items() if (text := _seen(study, of_it, metric, optimizer))]
    return [sentence(f"observed, without enough evidence: {'; '.join(seen)}")] if seen else []


def one_refusal(study: Study, optimizer: str, compared: Sequence[Effect], metric: str) -> str:
    """What is missing for the ranking of one optimizer beside others that are judged, and what was seen."""
    by_lack: dict[str, list[str]] = {}
    for effect in compared:
        for lack in effect.lacks:
            by_lack.setdefault(lack, []).append(effect.format)
    places = {lack: "" if len(formats) == len(compared) else f" in {few(formats)}" for lack, formats in by_lack.items()}
    missing = "; ".join(f"{lack}{place}" for lack, place in places.items())
    text = sentence(f"no ranking of formats by the gain of {optimizer} over {study.baseline}: {missing}")
    seen = _seen(study, compared, metric)
    return text + (" " + sentence(f"observed, without enough evidence: {seen}") if seen else "")


def plain(study: Study, effect: Effect, metric: str) -> str:
    """The effect without an interval."""
    what, unit = unit_of(study, metric)
    mean = effect.mean or 0.0
    if abs(mean) < NOTHING:
        return f"the same {what}"
    return f"{what} {size(abs(mean))}{unit} {'lower' if mean > 0 else 'higher'}"


def _seen(study: Study, compared: Sequence[Effect], metric: str, optimizer: str | None = None) -> str:
    parts = [f"in {effect.format} {plain(study, effect, metric)}" for effect in compared if effect.differences]
    than = "" if optimizer is None else f"with {optimizer} instead of {study.baseline}, "
    return f"{than}{few(parts, most=12)}" if parts else ""


def _short(every: Sequence[Effect]) -> Iterator[str]:
    """What is missing, in a few words each."""
    pairs = sorted({len(effect.differences) for effect in every if len(effect.differences) < FEWEST_SEEDS})
    lost = " in which both sides trained" if any(effect.diverged_seeds for effect in every) else ""
    if pairs == [1] and not lost:
        yield "one seed is not evidence"
    elif pairs == [0]:
        yield f"there is no pair of runs{lost}"
    elif pairs:
        yield f"{listed(pairs)} {'pair is' if pairs == [1] else 'pairs are'} too few{lost}"
    if rates := rates_short_of(every):
        yield "no learning-rate sweep was made" if max(rates) == 1 else "the learning rates tried are too few"


def rates_short_of(every: Sequence[Effect]) -> list[int]:
    """How many rates were tried, of the arms with too few and none that was declared in advance."""
    both = [arm for effect in every for arm in (effect.against, effect.arm) if arm is not None]
    return [len(arm.tried) for arm in both if not arm.has_its_rate]


def _needed(every: Sequence[Effect]) -> str:
    needs = []
    if any(len(effect.differences) < FEWEST_SEEDS for effect in every):
        needs.append(f"{FEWEST_SEEDS} seeds in common")
    if rates := rates_short_of(every):
        had = f"{min(rates)}" if min(rates) == max(rates) else f"{min(rates)} to {max(rates)}"
        needs.append(f"{FEWEST_RATES} learning rates of each optimizer ({had} {'was' if had == '1' else 'were'} tried)")
    return f"a ranking needs {listed(needs)}"
