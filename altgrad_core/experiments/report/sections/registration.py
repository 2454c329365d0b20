"""What a study declared before its results: shown ahead of them."""

from __future__ import annotations

from collections.abc import Iterator

from altgrad_core.experiments.report.blocks import Block, Text
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.registration import Registration
from altgrad_core.experiments.study.wording import count, sentence
from altgrad_core.records.directory import REGISTRATION

EXPLORATORY = (
    "Exploratory: no hypothesis was declared before training. A study with new seeds should declare and confirm what is "
    "found here (matrix.confirms)."
)


def registration_blocks(view: View) -> Iterator[Block]:
    """What a confirmatory study declared; of one with comparisons that declared nothing, that it is exploratory."""
    registrations = view.study.registrations
    if not registrations:
        if view.effects:
            yield Text(EXPLORATORY)
        return
    yield from (Text(text) for text in _declared(registrations[-1], view.study.unit))
    if registrations[-1].ended:
        yield Text(_late(registrations), "caution")


def _declared(last: Registration, unit: str) -> Iterator[str]:
    before = "" if last.ended else ", before any cell had ended"
    yield (
        f"Confirmatory: preregistered on {last.date} by the clock of the machine{before}; SHA-256 of the manifest "
        f"{last.sha256}."
    )
    yield sentence(f"Hypothesis: {last.hypothesis}")
    yield sentence(f"Analysis: {last.analysis.rstrip('.')}. Margin: {last.margin:g} {unit}")


def _late(registrations: tuple[Registration, ...]) -> str:
    first, last = registrations[0], registrations[-1]
    if len(registrations) == 1:
        return f"The hypothesis was declared after {count(last.ended, 'cell')} had ended: it may follow from their results."
    return (
        f"The manifest was changed after {count(last.ended, 'cell')} had ended: what was registered first, on {first.date} "
        f"with SHA-256 {first.sha256}, is in {REGISTRATION}. It declared: {first.hypothesis.rstrip('.')}; margin "
        f"{first.margin:g}."
    )
