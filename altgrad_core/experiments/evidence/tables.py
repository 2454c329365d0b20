"""The tables of a study, as CSV, and as Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.arms import Arm, rate_points
from altgrad_core.experiments.evidence.effects import LOSS, PERPLEXITY, in_metric
from altgrad_core.experiments.study.interval import Interval
from altgrad_core.experiments.study.study import Result
from altgrad_core.text import as_bytes, cell

Value = str | int | float | None
Row = Sequence[Value]


@dataclass(frozen=True)
class Table:
    """A name, the names of the columns, and the rows."""

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


PLACE = ("format", "optimizer", "variant")


def tables(analysis: Analysis) -> tuple[Table, ...]:
    """Cells, rates, arms, effects, costs, contrasts, pairs, layers, failures and controls; and evaluations, where there are any."""
    post_training = evaluations(analysis)
    return (
        *((post_training,) if post_training.rows else ()),
        _table("cells", (*PLACE, *CELL), _cells(analysis)),
        _table("rates", (*PLACE, *RATE), _rates(analysis)),
        _table("arms", (*PLACE, *ARM), _arms(analysis)),
        _table("effects", ("metric", *PLACE, *EFFECT), _effects(analysis)),
        _table("costs", (*PLACE, *COST), _costs(analysis)),
        _table("contrasts", ("optimizer", "variant", *CONTRAST), _contrasts(analysis)),
        _table("pairs", (*PLACE, *PAIR), _pairs(analysis)),
        _table("layers", (*PLACE, *LAYER), _layers(analysis)),
        _table("failures", (*PLACE, *FAILURE), _failures(analysis)),
        _table("controls", CONTROL, _controls(analysis)),
    )


def evaluations(analysis: Analysis) -> Table:
    """One row for each recipe of `[[evaluate]]` and each cell: the loss of the trained weights under it."""
    return _table("evaluations", (*PLACE, *EVALUATION), _evaluations(analysis))


def files(analysis: Analysis) -> dict[str, bytes]:
    """By file name, every table as CSV, and as Parquet where pyarrow is installed."""
    result: dict[str, bytes] = {}
    for table in tables(analysis):
        result[f"{table.name}.csv"] = as_csv(table)
        if (parquet := as_parquet(table)) is not None:
            result[f"{table.name}.parquet"] = parquet
    return result


def as_csv(table: Table) -> bytes:
    """Standard CSV in UTF-8: numbers in full, empty where there is none, and no text that a spreadsheet takes for a formula."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([cell(value) for value in row] for row in table.rows)
    return as_bytes(text.getvalue())


def as_parquet(table: Table) -> bytes | None:
    """The same as Parquet; None without pyarrow."""
    if find_spec("pyarrow") is None:
        return None
    import pyarrow
    from pyarrow import parquet

    columns = {name: [row[index] for row in table.rows] for index, name in enumerate(table.columns)}
    arrays = {name: [_written(value) for value in _one_type(values)] for name, values in columns.items()}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({name: pyarrow.array(values) for name, values in arrays.items()}), sink)
    return sink.getvalue()


def _written(value: Value) -> Value:
    return as_bytes(value).decode() if isinstance(value, str) else value


def _one_type(values: list[Value]) -> list[Value]:
    """A column has one type: text where any value is text or beyond 64 bits, numbers with a fraction where any has one."""
    kinds = {type(value) for value in values if value is not None}
    is_beyond = any(isinstance(value, int) and abs(value) >= 2**63 for value in values)
    if is_beyond or (str in kinds and len(kinds) > 1):
        return [None if value is None else str(value) for value in values]
    return [None if value is None else float(value) for value in values] if kinds == {int, float} else values


def _table(name: str, columns: tuple[str, ...], rows: Iterator[Row]) -> Table:
    return Table(name, columns, tuple(tuple(row) for row in rows))


def _place(item: Result | Arm) -> tuple[str, str, str]:
    return item.format, item.optimizer, item.variant


def _bounds(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


EVALUATION = ("rate", "seed", "cell", "recipe", "loss")


CELL = (
    "rate", "seed", "status", "role", "validation_loss", "perplexity", "steps", "parameters", "seconds", "reason",
    "cell", "identity",
)  # fmt: skip


def _evaluations(analysis: Analysis) -> Iterator[Row]:
    for result in analysis.study.results:
        for recipe, loss in result.evaluations.items():
            yield (*_place(result), result.rate, result.seed, result.name, recipe, loss)


def _cells(analysis: Analysis) -> Iterator[Row]:
    for r in analysis.study.results:
        parts = (_plain(r.summary.get(key)) for key in ("step", "parameters", "seconds_in_this_process"))
        loss = r.validation_loss
        yield (
            *_place(r), r.rate, r.seed, r.status, r.role, loss, in_metric(loss, PERPLEXITY), *parts,
            r.reason, r.name, r.identity,
        )  # fmt: skip


def _plain(value: object) -> Value:
    return value if isinstance(value, str | int | float) else None


RATE = ("rate", "mean_loss", "finished", "diverged", "ended", "lowest_loss", "highest_loss", "is_chosen")


def _rates(analysis: Analysis) -> Iterator[Row]:
    """Every rate, those included that only helped to find the largest stable one."""
    chosen = {(arm.format, arm.optimizer, arm.variant): arm.rate for arm in analysis.arms}
    for place, rate in chosen.items():
        for point in rate_points([result for result in analysis.study.results if _place(result) == place]):
            losses = point.losses.values()
            ends = (min(losses, default=None), max(losses, default=None))
            counts = (len(losses), point.diverged, point.of)
            yield (*place, point.rate, point.mean, *counts, *ends, int(point.rate == rate))


ARM = ("rate", "mean_loss", "perplexity_of_mean", "seeds", "diverged", "ended", "rates_tried", "is_tuned")


def _arms(analysis: Analysis) -> Iterator[Row]:
    for arm in analysis.arms:
        mean = sum(arm.losses.values()) / len(arm.losses) if arm.losses else None
        levels = (mean, in_metric(mean, PERPLEXITY))
        counts = (len(arm.losses), arm.diverged, arm.of, len(arm.tried), int(arm.is_tuned))
        yield (*_place(arm), arm.rate, *levels, *counts)


EFFECT = (
    "pairs", "mean", "low", "high", "student_low", "student_high", "p", "p_adjusted", "margin", "p_equivalence", "verdict",
    "diverged_pairs", "caution",
)  # fmt: skip


def _effects(analysis: Analysis) -> Iterator[Row]:
    for metric in (LOSS, PERPLEXITY):
        for e in analysis.effects_by(metric):
            yield (
                metric, e.format, e.optimizer, e.variant, len(e.differences), e.mean, *_bounds(e.interval),
                *_bounds(e.student), e.p, e.p_adjusted, e.margin, e.p_equivalence, e.told, len(e.diverged_seeds), "; ".join(e.caution),
            )  # fmt: skip


COST = (
    "reference_format",
    "reference_variant",
    "seeds",
    "mean",
    "low",
    "high",
    "student_low",
    "student_high",
    "detectable",
    "verdict",
)


def _costs(analysis: Analysis) -> Iterator[Row]:
    for c in analysis.costs:
        bounds = (*_bounds(c.interval), *_bounds(c.student))
        reference = (c.reference.format, c.reference.variant)
        yield (*_place(c.arm), *reference, len(c.differences), c.mean, *bounds, c.detectable, c.verdict)


CONTRAST = (
    "format", "other_format", "pairs", "mean", "low", "high", "student_low", "student_high", "p", "p_adjusted", "margin",
    "p_equivalence", "detectable", "verdict",
)  # fmt: skip


def _contrasts(analysis: Analysis) -> Iterator[Row]:
    for c in analysis.interactions:
        yield (
            c.optimizer, c.variant, c.format, c.other, len(c.differences), c.mean, *_bounds(c.interval),
            *_bounds(c.student), c.p, c.p_adjusted, c.margin, c.p_equivalence, c.detectable, c.verdict,
        )  # fmt: skip


PAIR = ("seed", "rate", "loss", "baseline", "baseline_rate", "baseline_loss", "gain")


def _pairs(analysis: Analysis) -> Iterator[Row]:
    for effect in analysis.effects:
        if effect.arm is None or effect.against is None:
            continue
        gains = dict(zip(effect.seeds, effect.differences, strict=True))
        for seed in sorted({*effect.seeds, *effect.diverged_seeds}):
            own, theirs = effect.arm.held_out[seed], effect.against.held_out[seed]
            yield (*_place(effect.arm), seed, *own, effect.against.optimizer, *theirs, gains.get(seed))


LAYER = ("layer_type", "reading", "mean", "layers", "cells")


def _layers(analysis: Analysis) -> Iterator[Row]:
    for m in analysis.layer_means:
        yield (m.format, m.optimizer, m.variant, m.type, m.reading, m.mean, m.layers, m.cells)


FAILURE = ("rate", "seed", "status", "step", "phase", "layer", "operand", "what", "reason", "cell")


def _failures(analysis: Analysis) -> Iterator[Row]:
    """Every cell that diverged or crashed, or in which a number that is not finite appeared."""
    for r in analysis.study.results:
        broke = r.run_summary.broke or {}
        if broke or r.status in ("diverged", "crashed"):
            where = (_plain(broke.get(key)) for key in ("step", "phase", "layer", "role", "what"))
            yield (*_place(r), r.rate, r.seed, r.status, *where, r.reason, r.name)


CONTROL = ("control", "format", "one", "other", "pairs", "mean_gain_of_other", "low", "high", "outcome")


def _controls(analysis: Analysis) -> Iterator[Row]:
    for what, result in (("same grid", analysis.same_grids), ("same optimizer", analysis.same_optimizers)):
        for same in result:
            yield (what, None, same.one, same.other, same.pairs, None, None, None, same.sentence)
    words = {1: "other is better", -1: "other is worse", 0: "no difference shown"}
    for contrast in analysis.contrasts:
        mean = sum(contrast.differences) / len(contrast.differences) if contrast.differences else None
        names = tuple(f"{arm.optimizer}; {arm.variant}" if arm.variant else arm.optimizer for arm in contrast.arms)
        yield (
            contrast.key, contrast.arms[0].format, *names, len(contrast.differences), mean, *_bounds(contrast.interval),
            words[contrast.sign],
        )  # fmt: skip
