"""Loss curves with the band of their seeds, and loss against learning rate, a panel per format."""

from __future__ import annotations

import math
from collections.abc import Sequence

from altgrad_core.experiments.evidence.arms import FEWEST_RATES, Arm
from altgrad_core.experiments.figures.axes import LOSS
from altgrad_core.experiments.figures.curves import Curve, Line, limits_of, loss_curves
from altgrad_core.experiments.figures.sensitivity import Level, Sweep, Tried, sensitivity, sweep_limits
from altgrad_core.experiments.report.blocks import Block, Gallery, Panel, Section, Text, file_name, table_of
from altgrad_core.experiments.report.sections.post_training import post_training_blocks
from altgrad_core.experiments.report.view import Place, View, mean
from altgrad_core.experiments.study.study import Result
from altgrad_core.experiments.study.wording import count, few

NAME, TITLE = "losses", "Loss curves and learning rates"
FEWEST_EVALUATIONS = 4
MOST_POINTS = 60
TRAINING = "training loss"


def losses_section(view: View) -> Section:
    """Curves at the chosen rates, then every rate."""
    if not any(result.run_summary.losses for result in view.study.results):
        return Section(NAME, TITLE, (Text("No cell has recorded a step, so there is no loss to show.", "gap"),))
    return Section(NAME, TITLE, (*_curves(view), *post_training_blocks(view), *_sweeps(view), *_thresholds(view)))


def _curves(view: View) -> list[Block]:
    cells = [cell for arm in view.arms for cell in view.results(arm)]
    evaluated = is_evaluated(view)
    drawn = [(place, curves_of(view, place, evaluated)) for place in view.places]
    drawn = [(place, curves) for place, curves in drawn if any(curve.runs or curve.diverged for curve in curves)]
    if not drawn:
        return [Text("No cell at a chosen rate has ended, so there is no curve to show.", "gap")]
    limits = limits_of([curve for _, curves in drawn for curve in curves])
    axis = f"{LOSS if evaluated else TRAINING} ({view.study.unit})"
    panels = []
    for number, (place, curves) in enumerate(drawn, 1):
        name, alt = file_name("curves", number, place.title), _curves_alt(place, curves, axis)
        svg = loss_curves(
            curves, levels=view.study.reference_losses if evaluated else {}, limits=limits, colours=view.colours,
            title=place.title, name=name, label=alt, axis=axis,
        )  # fmt: skip
        panels.append(Panel(name, svg, alt))
    steps = max((len(cell.run_summary.losses) for cell in cells if cell.status == "finished"), default=0)
    is_wide = all(view.is_wide(place.format) for place, _ in drawn)
    caption = f"{_curves_caption(drawn, evaluated, steps, is_wide=is_wide)}{_references(view)}"
    return [Gallery(tuple(panels), caption)]


def _references(view: View) -> str:
    """What simple predictors reach, in the panels or beyond them."""
    parts = [f"{name} {loss:.4f}" for name, loss in view.study.reference_losses.items()]
    return f" Simple predictors reach, on the validation split: {'; '.join(parts)}." if parts else ""


def is_evaluated(view: View) -> bool:
    """Whether every finished run at a chosen rate was evaluated often enough for a curve of the validation loss."""
    cells = [cell for arm in view.arms for cell in view.results(arm) if cell.status == "finished"]
    return all(len(cell.run_summary.evaluations) >= FEWEST_EVALUATIONS for cell in cells)


def curves_of(view: View, place: Place, evaluated: bool) -> list[Curve]:
    """A curve for each arm of a panel, and the references."""
    own = [_curve(view, arm, arm.optimizer, evaluated) for arm in place.arms]
    wide = [
        _curve(view, arm, f"{arm.format} ({arm.optimizer})", evaluated, wide=True) for arm in view.references(place)
    ]
    return own + wide


def _curve(view: View, arm: Arm, label: str, evaluated: bool, *, wide: bool = False) -> Curve:
    cells = view.results(arm)
    runs = tuple(_line(cell, evaluated) for cell in cells if cell.status == "finished")
    diverged = tuple(_line(cell, evaluated) for cell in cells if cell.status == "diverged")
    return Curve(label, tuple(run for run in runs if run), tuple(run for run in diverged if run), wide)


def _line(cell: Result, evaluated: bool) -> Line:
    """The evaluations, or the training loss averaged over stretches of steps; where it diverged, to its last step."""
    if evaluated and (cell.status == "finished" or len(cell.run_summary.evaluations) > 1):
        return sorted(cell.run_summary.evaluations.items())
    steps = sorted(cell.run_summary.losses.items())
    width = max(1, math.ceil(len(steps) / MOST_POINTS)) if cell.status == "finished" else 1
    stretches = [steps[start : start + width] for start in range(0, len(steps), width)]
    return [(stretch[-1][0], mean(loss for _, loss in stretch) or math.nan) for stretch in stretches]


def _curves_alt(place: Place, curves: Sequence[Curve], axis: str) -> str:
    ends = [
        f"{curve.label} ends at {end:.4f}"
        for curve in curves
        if (end := mean(run[-1][1] for run in curve.runs)) is not None
    ]
    lost = [f"{len(curve.diverged)} runs of {curve.label} diverged" for curve in curves if curve.diverged]
    return f"{place.title}: {axis} by step. {'; '.join([*ends, *lost]) or 'no run ended'}."


def _averaged(drawn: Sequence[tuple[Place, list[Curve]]], steps: int) -> str:
    """Over how many stretches a training loss is averaged, where it is."""
    points = max((len(run) for _, curves in drawn for curve in curves for run in curve.runs), default=0)
    return f", averaged over {points} stretches of the run," if points < steps else ""


def _curves_caption(drawn: Sequence[tuple[Place, list[Curve]]], evaluated: bool, steps: int, *, is_wide: bool) -> str:
    seeds = max((len(curve.runs) for _, curves in drawn for curve in curves), default=0)
    line = "one seed each, so there is no band"
    if seeds > 1:
        line = "the line is the mean over seeds, the band reaches from the lowest to the highest"
    wide = dict.fromkeys(curve.label for _, curves in drawn for curve in curves if curve.is_reference)
    what = "validation loss" if evaluated else f"training loss{_averaged(drawn, steps)}"
    why = (
        "" if evaluated else f" The training loss is shown, as not every run was evaluated {FEWEST_EVALUATIONS} times."
    )
    beside = f"; dashed in the colour of the text: {few(list(wide))}" if wide else ""
    if not wide and not is_wide:
        beside = "; no run in bf16 or fp32 to compare with"
    lost = sum(len(curve.diverged) for _, curves in drawn for curve in curves)
    crosses = f"; a cross at the top marks the last step of each of {count(lost, 'diverged run')}" if lost else ""
    return (
        f"How to read it: {what} at the chosen learning rate of each optimizer, lower is better; "
        f"{line}{beside}{crosses}. The right axis has the same values as perplexity; all panels share one scale.{why}"
    )


def _sweeps(view: View) -> list[Block]:
    drawn = []
    for place in view.places:
        sweeps = [sweep for arm in place.arms if (sweep := _sweep(arm)).tried]
        levels = [
            Level(f"{arm.format} ({arm.optimizer})", loss)
            for arm in view.references(place)
            if (loss := mean(arm.losses.values()))
        ]
        if sweeps:
            drawn.append((place, sweeps, levels))
    if not drawn:
        return [Text("No cell has ended with a learning rate, so there is no sensitivity to show.", "gap")]
    if all(len(sweep.tried) == 1 for _, sweeps, _ in drawn for sweep in sweeps):
        gap = (
            "One learning rate ended for each optimizer and format, so how much its choice matters cannot be seen: give the "
            "matrix several rates."
        )
        return [Text(gap, "gap")]
    limits = sweep_limits(
        [s for _, sweeps, _ in drawn for s in sweeps], [lv for _, _, levels in drawn for lv in levels]
    )
    simple = [Level(name, loss) for name, loss in view.study.reference_losses.items() if limits[0] < loss < limits[1]]
    panels = []
    for number, (place, sweeps, levels) in enumerate(drawn, 1):
        name, alt = file_name("rates", number, place.title), _sweeps_alt(place, sweeps)
        svg = sensitivity(
            sweeps,
            levels + simple,
            limits=limits,
            colours=view.colours,
            title=place.title,
            name=name,
            label=alt,
            unit=view.study.unit,
        )
        panels.append(Panel(name, svg, alt))
    return [Gallery(tuple(panels), _sweeps_caption([sweep for _, sweeps, _ in drawn for sweep in sweeps]))]


def _sweep(arm: Arm) -> Sweep:
    tried = [Tried(p.rate, tuple(p.losses.values()), p.diverged, p.of) for p in arm.tried if p.rate > 0 and p.of]
    return Sweep(arm.optimizer, tuple(tried), arm.rate)


def _sweeps_alt(place: Place, sweeps: Sequence[Sweep]) -> str:
    parts = [
        f"{sweep.label}: {count(len(sweep.tried), 'rate')}, best at {sweep.chosen:g}"
        for sweep in sweeps
        if sweep.chosen is not None
    ]
    return f"{place.title}: validation loss by learning rate. {'; '.join(parts)}."


def _sweeps_caption(everything: Sequence[Sweep]) -> str:
    lost = sum(tried.diverged for sweep in everything for tried in sweep.tried)
    crosses = f" A cross at the top says how many of the runs at that rate diverged ({lost} in all)." if lost else ""
    short = [sweep.label for sweep in everything if len(sweep.tried) < 3]
    lacking = (
        f" Fewer than 3 rates ended for {few(list(dict.fromkeys(short)))}: no minimum can be seen." if short else ""
    )
    most = max((len(tried.losses) for sweep in everything for tried in sweep.tried), default=0)
    is_partial = any(tried.of < sweep.most for sweep in everything for tried in sweep.tried)
    partly = " Rates that fewer seeds tried are open marks, off the line." if is_partial else ""
    dots = "dots are seeds, the line their mean" if most > 1 else "one seed, so no mean"
    return (
        "How to read it: validation loss at the end of the schedule against the learning rate; the flatter a line, the "
        f"less the choice matters; {dots}, a ring the chosen rate.{partly} Rates are in the unit of "
        "each optimizer, so lines of different optimizers are compared in height, not from left to right. Losses far "
        f"above the others lie on the upper edge.{crosses}{lacking}"
    )


def _thresholds(view: View) -> list[Block]:
    """Where rates were tried up to divergence, or beyond the range: the largest that does not diverge."""
    result = [threshold for threshold in view.analysis.thresholds if threshold.rates >= FEWEST_RATES]
    if not any(threshold.diverged is not None for threshold in result):
        most: dict[str, float] = {}
        for threshold in result:
            most[threshold.optimizer] = max(most.get(threshold.optimizer, 0.0), threshold.stable or 0.0)
        text = few([f"{optimizer} {rate:g}" for optimizer, rate in most.items() if rate])
        return (
            [Text(f"No rate that was tried diverged; the largest of each optimizer, in its unit: {text}.")]
            if text
            else []
        )
    columns = (
        "format",
        "variant",
        "optimizer",
        "largest stable rate",
        "smallest that diverged",
        "factor",
        "rates tried",
    )
    rows = [
        (t.format, t.variant, t.optimizer, _rate(t.stable), _rate(t.diverged), _rate(t.uncertainty), t.rates)
        for t in result
    ]
    caption = (
        "The largest learning rate below which nothing diverged and the smallest that did, with the seed that tried most "
        "rates; the threshold lies between them, so the factor is its uncertainty. Diverged: by the guards of the manifest, "
        "or with a loss not below the unigram entropy of the text, unless all smaller rates learned as little. A dash: no rate that was "
        "tried."
    )
    return [table_of(columns, rows, caption)]


def _rate(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
