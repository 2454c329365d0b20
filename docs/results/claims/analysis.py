"""Computes every number of the page on published claims from its tables.

python docs/results/claims/analysis.py                # prints the tables of the page
python docs/results/claims/analysis.py --write        # also writes them there, and tables/contrasts.csv
python docs/results/claims/analysis.py --collect DIR  # copies the cells of reported studies to tables/ first
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

sys.path.append(str(Path(__file__).parents[1]))
from arms import (
    Contrast,
    Losses,
    Row,
    Tables,
    cells_of,
    contrast,
    difference,
    interval,
    main,
    mean,
    tried,
    variant_of,
    verdict,
)

TABLES = Path(__file__).parent / "tables"
PAGE = Path(__file__).parent / "README.md"
MARGIN = 0.005  # nats per byte, declared in every manifest
UNIFORM = math.log(256)  # nats per byte: the loss of a uniform guess
THRESHOLD = 20 * math.log10(math.sqrt(3))  # dB, 4.77
LAST = 0.25  # the share of the readings, from the end, over which a ratio is averaged


def rows_of(name: str) -> list[Row]:
    """The cells of `claim-NAME`."""
    return cells_of(TABLES / f"claim-{name}.csv")


# Exponent bits: what rounding all operands of the blocks adds, by layout.


def added_by_layout(study: str) -> dict[tuple[int, int, int], Losses]:
    """What a format adds to the loss of every seed, by steps, exponent and mantissa bits."""
    found = tried(rows_of(study), lambda row: (int(row["steps"]), variant_of(row)))
    losses = {arm: next(iter(rates.values())) for arm, rates in found.items()}
    return {
        (steps, int(name[1]), int(name[3])): {
            seed: loss - losses[steps, "fp32"][seed] for seed, loss in by_seed.items()
        }
        for (steps, name), by_seed in losses.items()
        if name != "fp32"
    }


def exponents(added: Mapping[tuple[int, int], float]) -> tuple[float, float]:
    """d and v of the law c / ((E + 0.5)^d (M + 0.5)^v), fitted to the logarithms of what layouts add, by least squares."""
    fitted = {layout: loss for layout, loss in added.items() if 0 < loss < UNIFORM}
    design = [[1.0, -math.log(e + 0.5), -math.log(m + 0.5)] for e, m in fitted]
    (_, d, v), *_ = np.linalg.lstsq(np.array(design), np.log(list(fitted.values())), rcond=None)
    return float(d), float(v)


def laws(study: str) -> dict[str, Contrast]:
    """d, v and d less v over seeds, by steps."""
    added = added_by_layout(study)
    listed = {}
    for steps in sorted({steps for steps, _, _ in added}):
        seeds = sorted(next(iter(added.values())))
        fits = [exponents({(e, m): by[seed] for (at, e, m), by in added.items() if at == steps}) for seed in seeds]
        for name, values in (
            ("d", [d for d, _ in fits]),
            ("v", [v for _, v in fits]),
            ("d - v", [d - v for d, v in fits]),
        ):
            listed[f"{steps} steps: {name}"] = contrast(f"{study}, {steps} steps: {name}", values)
    return listed


def layouts_table(study: str) -> str:
    """What every layout adds, then the fitted law."""
    added = added_by_layout(study)
    lengths = sorted({steps for steps, _, _ in added})
    lines = [
        f"| bits | layout | {' | '.join(f'{steps} steps' for steps in lengths)} |",
        "|---|---|" + "---|" * len(lengths),
    ]
    for e, m in sorted({(e, m) for _, e, m in added}, key=lambda layout: (sum(layout), layout)):
        cells = [interval(contrast("", list(added[steps, e, m].values()))) for steps in lengths]
        lines.append(f"| {1 + e + m} | E{e}M{m} | {' | '.join(cells)} |")
    lines += ["", f"| | {' | '.join(f'{steps} steps' for steps in lengths)} |", "|---|" + "---|" * len(lengths)]
    listed = laws(study)
    for name in ("d", "v", "d - v"):
        lines.append(f"| {name} | {' | '.join(interval(listed[f'{steps} steps: {name}']) for steps in lengths)} |")
    return "\n".join(lines)


# Norms in MX: which runs diverge, and what it adds.


def has_diverged(row: Row) -> bool:
    """As registered: not finite, above the loss before the first step, or above twice its own lowest validation loss."""
    loss = float(row["validation_loss"]) if row["status"] == "finished" else math.inf
    return not loss <= min(float(row["first"]), 2 * float(row["lowest"]))


NORMS = ("fp32", "norms", "matrices", "matrices-and-norms")
NORM_PAIRS = (("norms", "fp32"), ("matrices-and-norms", "matrices"), ("matrices", "fp32"))


def of_norms() -> dict[tuple[str, float], Losses]:
    """The losses by what is rounded and rate."""
    found = tried(rows_of("norms"), variant_of)
    return {(name, rate): losses for name, rates in found.items() for rate, losses in rates.items()}


def norms() -> dict[str, Contrast]:
    """What rounding norms adds to the loss, with and without rounded matrices, at each rate."""
    found = of_norms()
    rates = sorted({rate for _, rate in found})
    return {
        name: difference(name, found[one, rate], found[other, rate])
        for one, other in NORM_PAIRS
        for rate in rates
        for name in [f"{one} - {other}, rate {rate:g}"]
    }


def norms_table() -> str:
    """Losses and diverged runs, then differences."""
    found, rows = of_norms(), rows_of("norms")
    rates = sorted({rate for _, rate in found})
    lines = [f"| rate | {' | '.join(NORMS)} | diverged |", "|---|" + "---|" * (len(NORMS) + 1)]
    for rate in rates:
        lost = [row for row in rows if float(row["rate"]) == rate and has_diverged(row)]
        lines.append(f"| {rate:g} | {' | '.join(f'{mean(found[name, rate]):.4f}' for name in NORMS)} | {len(lost)} |")
    lines += ["", "| difference of losses | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in norms().items()]
    return "\n".join(lines)


# Noise of gradients: the signal-to-noise ratio of a format, and what it costs.


def of_noise(study: str) -> dict[str, tuple[float, Losses]]:
    """By format, the mean signal-to-noise ratio in dB and what rounding adds to the loss of every seed."""
    rows = rows_of(study)
    losses = {name: next(iter(rates.values())) for name, rates in tried(rows, variant_of).items()}
    return {
        name: (
            statistics.fmean(float(row["snr"]) for row in rows if variant_of(row) == name),
            {seed: loss - losses["fp32"][seed] for seed, loss in by_seed.items()},
        )
        for name, by_seed in losses.items()
        if name != "fp32"
    }


def noise(study: str) -> dict[str, Contrast]:
    """What rounding gradients costs, by format."""
    found = of_noise(study)
    return {name: contrast(f"{study}: {name}", list(losses.values())) for name, (_, losses) in found.items()}


def judged_by_threshold(ratio: float, cost: Contrast) -> str:
    """Whether the cost is on the side of the margin that the threshold predicts, by its interval."""
    if cost.low <= MARGIN <= cost.high:
        return "cannot be told"
    return "as predicted" if (cost.high < MARGIN) == (ratio > THRESHOLD) else "not as predicted"


def noise_table(study: str) -> str:
    """Ratio and cost of every format, the highest ratio first."""
    found, listed = of_noise(study), noise(study)
    lines = ["| gradients in | ratio, dB | cost | by the threshold |", "|---|---|---|---|"]
    for name, (ratio, _) in sorted(found.items(), key=lambda item: -item[1][0]):
        lines.append(
            f"| {name} | {ratio:.2f} | {interval(listed[name])} | {judged_by_threshold(ratio, listed[name])} |"
        )
    ratios, costs = zip(*((ratio, listed[name].mean) for name, (ratio, _) in found.items()), strict=True)
    lines.append(f"| rank correlation of ratio and cost | {spearmanr(ratios, costs).statistic:.2f} | | |")
    crossing = ratio_at_margin(dict(zip(ratios, costs, strict=True)))
    told = "none" if crossing is None else f"{crossing:.2f}"
    return "\n".join([*lines, f"| ratio at which the mean cost passes the margin, by interpolation | {told} | | |"])


def ratio_at_margin(costs: Mapping[float, float]) -> float | None:
    """The highest ratio at which the cost rises to the margin, between neighbouring ratios in a straight line; None where it does not."""
    places = sorted(costs, reverse=True)
    for high, low in itertools.pairwise(places):
        if costs[high] < MARGIN <= costs[low]:
            return high + (low - high) * (MARGIN - costs[high]) / (costs[low] - costs[high])
    return None


# Sensitivity to the rate.

SENSITIVITIES = (
    ("plain", "qk-norm"), ("wide", "plain"), ("wide", "wide-qk-norm"),
    ("e4m3", "plain"), ("e4m3", "e4m3-qk-norm"),
)  # fmt: skip


def sensitivities() -> dict[str, Losses]:
    """By variant, the sensitivity of every seed: mean over the rates of its loss, at most that of a guess, less its lowest loss."""
    result = {}
    for name, rates in tried(rows_of("rate-sensitivity"), variant_of).items():
        seeds = sorted(next(iter(rates.values())))
        by_seed = {seed: [min(losses[seed], UNIFORM) for losses in rates.values()] for seed in seeds}
        result[name] = {seed: math.fsum(losses) / len(losses) - min(losses) for seed, losses in by_seed.items()}
    return result


def rates() -> dict[str, Contrast]:
    """Differences of sensitivities."""
    found = sensitivities()
    return {
        name: difference(name, found[one], found[other])
        for one, other in SENSITIVITIES
        for name in [f"sensitivity: {one} - {other}"]
    }


def rates_table() -> str:
    """Losses by rate and sensitivity of every variant, then differences of sensitivities."""
    found, told = tried(rows_of("rate-sensitivity"), variant_of), sensitivities()
    tried_rates = sorted(next(iter(found.values())))
    lines = [f"| model | {' | '.join(f'{rate:g}' for rate in tried_rates)} | sensitivity |"]
    lines.append("|---|" + "---|" * (1 + len(tried_rates)))
    for name, by_rate in found.items():
        cells = [f"{mean({s: min(loss, UNIFORM) for s, loss in by_rate[rate].items()}):.3f}" for rate in tried_rates]
        lines.append(f"| {name} | {' | '.join(cells)} | {mean(told[name]):.4f} |")
    lines += ["", "| difference of sensitivities | mean | p |", "|---|---|---|"]
    lines += [f"| {name.removeprefix('sensitivity: ')} | {interval(c)} | {c.p:.3f} |" for name, c in rates().items()]
    registered = rates()["sensitivity: plain - qk-norm"]
    return "\n".join([*lines, f"| **the registered difference**: {verdict(registered)} | {interval(registered)} | |"])


def further(study: Path) -> dict[str, Row]:
    """More columns of the cells of a study: first and lowest loss where divergence is asked, ratios where noise is."""
    import altgrad_core as ag

    loaded = ag.load(study)
    if study.name == "claim-norms":
        losses = loaded.losses()
        first = losses[(losses.phase == "train") & (losses.step == 1)].set_index("cell").loss
        lowest = losses[losses.phase == "validation"].groupby("cell").loss.min()
        return {cell: {"first": repr(float(first[cell])), "lowest": repr(float(lowest[cell]))} for cell in lowest.index}
    if study.name.startswith("claim-gradient-noise"):
        return {cell: {"snr": repr(float(ratio))} for cell, ratio in ratios(loaded.readings("gradient-snr")).items()}
    return {}


def ratios(readings: object) -> dict[str, float]:
    """By cell, the median over the matrices of the blocks at each step, averaged over the last quarter of the readings."""
    blocks = readings[readings.layer.str.startswith("blocks.")]  # type: ignore[index]
    medians = blocks.groupby(["cell", "step"]).value.median()
    result = {}
    for cell, by_step in medians.groupby(level="cell"):
        values: Sequence[float] = by_step.sort_index().tolist()
        result[cell] = statistics.fmean(values[-max(1, round(LAST * len(values))) :])
    return result


TABLES_OF_THE_PAGE: Tables = {
    "exponent bits": lambda: layouts_table("exponent-bits"),
    "exponent bits again": lambda: layouts_table("exponent-bits-again"),
    "norms in MX": norms_table,
    "noise of gradients": lambda: noise_table("gradient-noise"),
    "noise of gradients again": lambda: noise_table("gradient-noise-again"),
    "sensitivity to the rate": rates_table,
}


def contrasts() -> list[Contrast]:
    """All of them, in the order of the page."""
    return [
        c
        for listed in (
            *map(laws, ("exponent-bits", "exponent-bits-again")),
            norms(),
            *map(noise, ("gradient-noise", "gradient-noise-again")),
            rates(),
        )
        for c in listed.values()
    ]


if __name__ == "__main__":
    main(PAGE, str(__doc__), TABLES_OF_THE_PAGE, contrasts, further)
