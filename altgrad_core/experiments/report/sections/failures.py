"""Where each format fails: how many runs diverged, in which pass and layer it began, and at which rates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from altgrad_core.experiments.evidence.arms import Arm, RatePoint, rate_points
from altgrad_core.experiments.evidence.cautions import diverged
from altgrad_core.experiments.figures.heat import number_table
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name, table_of
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import count, listed, sentence

NAME, TITLE = "failures", "Where each format fails"
MOST_PLACES = 6
PHASES = ("forward", "backward", "optimizer")
COLUMNS = (
    "format",
    "variant",
    "optimizer",
    "diverged",
    *(f"in {phase}" for phase in PHASES),
    "loss too high",
    "place not recorded",
    "first layer",
    "steps",
    "rates",
)


def failures_section(view: View) -> Section:
    """k of n per format, a map of rates, and what broke first."""
    ended = [result for result in view.study.results if result.has_ended]
    if not ended:
        return Section(NAME, TITLE, (Text("No cell has ended, so what fails is not known.", "gap"),))
    lost = [result for result in ended if result.status == "diverged"]
    blocks: list[Block] = [Text(_sentence(ended))]
    if lost:
        blocks += [*_maps(view), Text(sentence(diverged(view.study))), Text(_first_places(lost))]
        blocks += [_table(rows)] if (rows := _rows(view)) else []
    return Section(NAME, TITLE, tuple(blocks))


def _sentence(ended: Sequence[Result]) -> str:
    formats = list(dict.fromkeys(result.format for result in ended))
    lost = {name: sum(r.format == name and r.status == "diverged" for r in ended) for name in formats}
    of = Counter(result.format for result in ended)
    if not any(lost.values()):
        return f"None diverged of {count(len(ended), 'cell')} that ended."
    worst = [
        f"{name} {lost[name]} of {of[name]}" for name in sorted(formats, key=lambda n: -lost[n] / of[n]) if lost[name]
    ]
    never = [name for name in formats if not lost[name]]
    sound = f"; never: {listed(never)}" if never else ""
    return sentence(f"diverged, over all rates and seeds: {', '.join(worst)}{sound}")


def _first_places(lost: Sequence[Result]) -> str:
    """Where the first number that is not finite appeared, of every run that recorded it."""
    places = [
        f"{cell.name}: step {_step(result)}, {result.get('phase')}, {_layer(result)}"
        for cell in lost
        if (result := cell.run_summary.broke)
    ]
    if places:
        return sentence(f"where a non-finite number appeared first: {'; '.join(places[:MOST_PLACES])}{_more(places)}")
    if any(_is_lost_unseen(cell) for cell in lost):
        return "No run that diverged recorded where a non-finite number appeared first."
    return "No run that diverged had a non-finite number: the loss was too high for too long."


def _more(places: Sequence[str]) -> str:
    return f"; and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""


def _step(result: Mapping[str, Any]) -> str:
    return str(step) if isinstance(step := result.get("step"), int) else "unknown"


def _layer(result: Mapping[str, Any]) -> str:
    return "the whole model" if result.get("layer") == "*" else str(result.get("layer"))


def _is_lost_unseen(cell: Result) -> bool:
    """Whether the loss was not finite, and no record says where that began."""
    losses = cell.run_summary.losses
    return not cell.run_summary.broke and not (losses and math.isfinite(losses[max(losses)]))


def _tried(view: View, arm: Arm) -> dict[float, RatePoint]:
    """Every rate of an arm with what ended there, probes among them."""
    return {point.rate: point for point in rate_points(_cells(view, arm)) if point.of}


def _cells(view: View, arm: Arm) -> list[Result]:
    place = (arm.format, arm.optimizer, arm.variant)
    return [cell for cell in view.study.results if (cell.format, cell.optimizer, cell.variant) == place]


def _maps(view: View) -> list[Block]:
    panels: list[Panel] = []
    result = [(arm, _tried(view, arm)) for arm in view.arms]
    for optimizer in dict.fromkeys(arm.optimizer for arm, row in result if any(p.diverged for p in row.values())):
        own = [arm for arm in view.arms if arm.optimizer == optimizer]
        points = [row for arm, row in result if arm.optimizer == optimizer]
        rates = sorted({rate for row in points for rate in row})
        rows = [view.title(arm.format, arm.variant) for arm in own]
        values = [
            [100 * row[rate].diverged / row[rate].of if rate in row else float("nan") for rate in rates]
            for row in points
        ]
        texts = [[f"{row[rate].diverged}/{row[rate].of}" if rate in row else "" for rate in rates] for row in points]
        name = file_name(NAME, len(panels) + 1, optimizer)
        lost = sum(point.diverged for row in points for point in row.values())
        alt = f"Share of runs of {optimizer} that diverged, by format and learning rate: {lost} in all."
        svg = number_table(
            values, rows=rows, columns=[f"{rate:g}" for rate in rates], texts=texts, unit="% diverged",
            title=f"{optimizer}, by learning rate", name=name, label=alt, limits=(0, 100),
        )  # fmt: skip
        panels.append(Panel(name, svg, alt))
    caption = "How to read it: each cell is the share of the runs of a format that diverged at a learning rate; empty: not tried."
    return [Gallery(tuple(panels), caption)] if panels else []


def _rows(view: View) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for arm in view.arms:
        cells = [cell for cell in _cells(view, arm) if cell.has_ended]
        lost = [cell for cell in cells if cell.status == "diverged"]
        if not lost:
            continue
        broke = [cell.run_summary.broke for cell in lost if cell.run_summary.broke]
        phases = Counter(str(result.get("phase")) for result in broke)
        layers = Counter(str(result.get("layer")) for result in broke if result.get("layer") != "*")
        unseen = sum(_is_lost_unseen(cell) for cell in lost)
        rows.append(
            (
                arm.format, arm.variant, arm.optimizer, f"{len(lost)} of {len(cells)}",
                *(phases[p] or None for p in PHASES), len(lost) - len(broke) - unseen or None, unseen or None,
                ", ".join(f"{name} ({times})" for name, times in layers.most_common(2)),
                _range([_last_step(cell) for cell in lost]),
                listed([f"{rate:g}" for rate in sorted({cell.rate or 0.0 for cell in lost})]),
            )
        )  # fmt: skip
    return rows


def _table(rows: Sequence[tuple[object, ...]]) -> Block:
    text = (
        "What failed first, over all rates, including those of the search for the largest stable rate: the pass, the layer "
        "and the step of the first non-finite number. A loss that stayed finite but was too high for too long has no such "
        "layer."
    )
    return table_of(COLUMNS, rows, text)


def _last_step(cell: Result) -> int | None:
    if cell.run_summary.broke and isinstance(step := cell.run_summary.broke.get("step"), int):
        return step
    return max(cell.run_summary.losses, default=None)


def _range(steps: Sequence[int | None]) -> str:
    known = sorted(step for step in steps if step is not None)
    return "" if not known else str(known[0]) if known[0] == known[-1] else f"{known[0]} to {known[-1]}"
