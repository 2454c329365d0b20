"""Where the variance comes from, what remains of formats once they are pooled, and what the rate and the text matter."""

from __future__ import annotations

from collections.abc import Iterator

from altgrad_core.experiments.report.blocks import Block, Section, Text, table_of
from altgrad_core.experiments.report.view import View
from altgrad_core.experiments.study.wording import decimals

NAME, TITLE = "statistics", "Variance, pooling and sensitivity"


def statistics_section(view: View) -> Section:
    """Four tables, each where the study has what it needs."""
    blocks = [*_variance(view), *_pooled(view), *_sensitivity(view), *_sampled(view)]
    lacking = "Not enough ended: these tables need two seeds, three formats or three rates, or the losses of validation blocks."
    return Section(NAME, TITLE, tuple(blocks) or (Text(lacking, "gap"),))


def _variance(view: View) -> Iterator[Block]:
    if (result := view.analysis.variance) is not None:
        rows = [(share.name, share.levels or None, f"{100 * share.share:.1f} %") for share in result]
        text = (
            "Shares of the total sum of squares of the validation losses at the chosen rates (analysis of variance, main "
            "effects), over the formats, optimizers and seeds that make a complete design."
        )
        yield table_of(("factor", "levels", "share of the variance"), rows, text)


def _pooled(view: View) -> Iterator[Block]:
    rows = []
    for optimizer, variant, own in view.analysis.pooled:
        place = (optimizer, variant, f"{own.p:.3g}", f"{own.weight:.2f}", own.seeds)
        rows += [(*place, format, f"{own.raw[format]:+.4f}", f"{gain:+.4f}") for format, gain in own.gains.items()]
    if rows:
        text = (
            "Partial pooling of the gains over formats that share seeds: each is moved towards the mean of all by 1 minus the "
            "weight, further if formats differ less. p: the probability of such differences by chance alone (F test)."
        )
        columns = ("optimizer", "variant", "p", "weight", "seeds", "format", "gain", "pooled gain")
        yield table_of(columns, rows, text)


def _sensitivity(view: View) -> Iterator[Block]:
    if result := view.analysis.sensitivities:
        rows = [
            (arm.format, arm.variant, arm.optimizer, len(arm.tried), f"{arm.tried[0].rate:g} to {arm.tried[-1].rate:g}", f"{value:.4f}")
            for arm, value in result
        ]  # fmt: skip
        text = (
            "Sensitivity to the learning rate (arXiv 2309.14322): the mean excess of the loss over its smallest value, over the "
            f"range of rates tried, on a logarithmic scale, in {view.study.unit}; losses above that of a model that has learned "
            "nothing count as that loss. Compare arms whose ranges are equally wide."
        )
        yield table_of(("format", "variant", "optimizer", "rates", "range", "sensitivity"), rows, text)


def _sampled(view: View) -> Iterator[Block]:
    rows = []
    for own in view.analysis.sampled:
        digits = decimals(own.interval)
        rows.append(
            (
                own.effect.format, own.effect.variant, own.effect.optimizer, f"{own.interval.mean:+.{digits}f}", own.blocks,
                f"{own.seed_error:.2g}", f"{own.block_error:.2g}",
                f"{own.interval.low:+.{digits}f} to {own.interval.high:+.{digits}f}",
            )
        )  # fmt: skip
    if rows:
        text = (
            "Effects with the choice of the validation text in their interval. All runs share the validation blocks; with other "
            "blocks the effect would scatter by the error from blocks, which is in no other interval of this page."
        )
        columns = (
            "format",
            "variant",
            "optimizer",
            "effect",
            "blocks",
            "error from seeds",
            "error from blocks",
            "95 % interval with both",
        )
        yield table_of(columns, rows, text)
