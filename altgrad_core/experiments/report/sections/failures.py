"""Where each format fails: how many runs diverged, in which pass and layer it began, and at which rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from altgrad_core.experiments.evidence.wording import count, listed, sentence
from altgrad_core.experiments.figures.heat import number_table
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name, table_of
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.study import Result

NAME, TITLE = "failures", "Where each format fails"
PHASES = ("forward", "backward", "optimizer")
COLUMNS = (
    "format",
    "variant",
    "optimizer",
    "diverged",
    *(f"in {phase}" for phase in PHASES),
    "loss too high",
    "first layer",
    "steps",
    "rates",
)


def failures_section(view: View) -> Section:
    """k of n per format, a map of rates, and what broke first."""
    ended = [result for result in view.study.results if result.has_ended]
    if not ended:
        return Section(NAME, TITLE, (Text("No cell has ended, so it is not known what fails.", "gap"),))
    blocks: list[Block] = [Text(_sentence(ended))]
    if any(result.status == "diverged" for result in ended):
        blocks += [*_maps(view), _table(view)]
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


def _maps(view: View) -> list[Block]:
    panels: list[Panel] = []
    for optimizer in dict.fromkeys(arm.optimizer for arm in view.arms if any(p.diverged for p in arm.tried)):
        own = [arm for arm in view.arms if arm.optimizer == optimizer]
        rates = sorted({point.rate for arm in own for point in arm.tried})
        rows = [view.title(arm.format, arm.variant) for arm in own]
        points = [{point.rate: point for point in arm.tried if point.of} for arm in own]
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
    caption = "How to read it: each cell says how many of the runs of a format diverged at a learning rate; an empty one was not tried."
    return [Gallery(tuple(panels), caption)] if panels else []


def _table(view: View) -> Block:
    rows = []
    for arm in view.arms:
        cells = [cell for cell in view.results(arm, chosen=False) if cell.has_ended]
        lost = [cell for cell in cells if cell.status == "diverged"]
        if not lost:
            continue
        broke = [cell.digest.broke for cell in lost if cell.digest.broke]
        phases = Counter(str(found.get("phase")) for found in broke)
        layers = Counter(str(found.get("layer")) for found in broke if found.get("layer") != "*")
        steps = [_last_step(cell) for cell in lost]
        rows.append(
            (
                arm.format, arm.variant, arm.optimizer, f"{len(lost)} of {len(cells)}", *(phases[p] for p in PHASES),
                len(lost) - len(broke), ", ".join(f"{name} ({times})" for name, times in layers.most_common(2)),
                _range(steps), listed([f"{rate:g}" for rate in sorted({cell.rate or 0.0 for cell in lost})]),
            )
        )  # fmt: skip
    told = (
        "What broke first, over all rates: the pass in which a number that is not finite appeared, the layer, and the step; "
        "a loss that stayed finite but was too high for too long has no such layer."
    )
    return table_of(COLUMNS, rows, told)


def _last_step(cell: Result) -> int | None:
    if cell.digest.broke and isinstance(step := cell.digest.broke.get("step"), int):
        return step
    return max(cell.digest.losses, default=None)


def _range(steps: Sequence[int | None]) -> str:
    known = sorted(step for step in steps if step is not None)
    return "" if not known else str(known[0]) if known[0] == known[-1] else f"{known[0]} to {known[-1]}"
