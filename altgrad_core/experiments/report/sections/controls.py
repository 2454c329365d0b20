"""Controls: comparisons whose outcome is known beforehand, or that tell one cause from another."""

from __future__ import annotations

from altgrad_core.experiments.evidence.controls import (
    Contrast,
    contrast_sentences,
)
from altgrad_core.experiments.evidence.statistics import shown_interval
from altgrad_core.experiments.report.blocks import Block, Section, Text, table_of
from altgrad_core.experiments.report.view import View, mean
from altgrad_core.experiments.study.wording import listed

NAME, TITLE = "controls", "Controls"
REFERENCES = ("fp32", "bf16")
ROUNDING = {"rounding": "nearest with stochastic rounding"}
SCALES = {"scale_rounding": "scales rounded up with exact ones"}


def controls_section(view: View) -> Section:
    """References, runs that must be the same, and every two arms that differ in one key."""
    result = view.analysis.contrasts
    blocks: list[Block] = [*_references(view), *_same(view)]
    blocks += [Text(text) for text in contrast_sentences(result, view.study.unit)]
    blocks += [_table(result, view.study.unit)] if result else []
    options = {**ROUNDING, **view.study.declared.controls, **SCALES}
    keys = {contrast.key.rpartition(".")[2] for contrast in result}
    if missing := [f"{what} ({key})" for key, what in options.items() if key not in keys]:
        gap = f"No cells differ only in one of these keys, so there is no comparison of {listed(missing)}: add an axis for it."
        blocks.append(Text(gap, "gap"))
    return Section(NAME, TITLE, tuple(blocks))


def _references(view: View) -> list[Block]:
    wide = [arm for arm in view.arms if view.is_wide(arm.format)]
    rows = [
        (arm.format, arm.variant, arm.optimizer, _rate(arm.rate), len(arm.losses), mean(arm.losses.values()))
        for arm in wide
    ]
    blocks: list[Block] = []
    if rows:
        columns = ("format", "variant", "optimizer", "rate", "seeds", "validation loss")
        blocks.append(table_of(columns, rows, "The same model and data in wide formats, computed by the same code."))
    if missing := [name for name in REFERENCES if not any(name in arm.format for arm in wide)]:
        gap = f"No cell was trained in {' and '.join(missing)}: add it to the axis of formats to have a reference."
        blocks.append(Text(gap, "gap"))
    return blocks


def _same(view: View) -> list[Block]:
    """Formats that are one grid must give the same runs; optimizers that did are worth a word."""
    result = view.analysis.same_grids
    blocks: list[Block] = [
        Text(
            f"One grid up to a power of two, so the runs must be the same: {same.sentence}",
            "caution" if same.difference else "plain",
        )
        for same in result
    ]
    if not result:
        gap = (
            "No two formats of this study are one grid up to a power of two, such as e0m7 and e1m6, whose runs must be "
            "identical: add both to the axis of formats to have this control."
        )
        blocks.append(Text(gap, "gap"))
    return blocks + [
        Text(f"The same runs from two optimizers: {same.sentence}") for same in view.analysis.same_optimizers
    ]


def _table(result: tuple[Contrast, ...], unit: str) -> Block:
    columns = ("key", "format", "optimizer", "one", "other", "pairs", "other gains", "95 % interval")
    rows = [
        (
            contrast.key, contrast.arms[0].format, contrast.arms[0].optimizer, contrast.one, contrast.other,
            len(contrast.differences), mean(contrast.differences),
            None if (shown := shown_interval(contrast)) is None else f"{shown.low:+.4f} to {shown.high:+.4f}",
        )
        for contrast in result
    ]  # fmt: skip
    return table_of(
        columns, rows, f"Arms that differ in one key, each at its chosen rate, in pairs of seeds; in {unit}."
    )


def _rate(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:g}"
