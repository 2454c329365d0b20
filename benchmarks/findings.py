"""What the runs of `transfer.py` say: the best rate of each format, and what one rate for all of them costs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

FORMATS = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")
TWIN = "e1m6"  # the grid of e0m7: the first seed shows that it gives the same runs, the others leave it out
REFERENCE = "none"  # weights that are not quantized
COMPARED = tuple(format for format in FORMATS if format != TWIN)
PER_BINADE = {format: 2 ** min(int(format[3]), 6) for format in FORMATS}
SEEDS = (0, 1, 2, 3, 4)
RATES = {
    "walk": tuple(0.1 * 2.0**k for k in range(-6, 5)),  # binades
    "adamw": tuple(0.001 * 2.0**k for k in range(-2, 6)),
}
RANKED = (*((way, format) for way in RATES for format in COMPARED), ("adamw", REFERENCE))
CONTROLS: dict[str, dict[str, Any]] = {"carried": {"moments": "carried"}, "linear": {"walk": "linear"}}
AROUND = (-2, -1, -0.5, 0, 0.5, 1, 2)  # powers of two
Losses = dict[float, float]
Finished = dict[tuple[str, str, float, int], dict[str, Any]]


class Unit(NamedTuple):
    """What a rate is a number of: the same walks count as rates in binades and as rates in rungs."""

    name: str
    way: str
    by_rungs: bool = False

    def factor(self, format: str) -> int:
        """From a rate as it was run to this unit."""
        return PER_BINADE[format] if self.by_rungs else 1


BINADES = Unit("binades", "walk")
UNITS = (Unit("rungs", "walk", by_rungs=True), BINADES, Unit("real units (AdamW)", "adamw"))


def curve(finished: Finished, unit: Unit, format: str, seeds: Sequence[int]) -> Losses:
    """The mean loss at each rate, in this unit, that all the seeds were run at; infinite where one diverged."""
    tried = {rate for way, f, rate, _ in finished if (way, f) == (unit.way, format)}
    found = {}
    for rate in sorted(tried):
        runs = [finished[key] for seed in seeds if (key := (unit.way, format, rate, seed)) in finished]
        if len(runs) == len(seeds):
            losses = (math.inf if run["diverged"] else run["validation"] for run in runs)
            found[rate * unit.factor(format)] = statistics.fmean(losses)
    return found


def best(losses: Losses) -> float:
    """The rate of the lowest loss."""
    return min(losses, key=lambda rate: losses[rate])


def best_common(finished: Finished, unit: Unit, seeds: Sequence[int]) -> tuple[float, Losses]:
    """The rate that costs all formats the least on average, and by how much each is then above its lowest loss."""
    curves = {format: curve(finished, unit, format, seeds) for format in COMPARED}
    shared = set.intersection(*(set(losses) for losses in curves.values()))
    costs = {rate: {f: losses[rate] - min(losses.values()) for f, losses in curves.items()} for rate in shared}
    return min(costs.items(), key=lambda item: statistics.fmean(item[1].values()))


def near_best(finished: Finished, way: str, format: str) -> Iterator[float]:
    """The rates around the best that the first seed tried, and what it found best for all formats, as they are run."""
    first = {key: run for key, run in finished.items() if key[3] == SEEDS[0] and key[2] in RATES[way]}
    top = best(curve(first, Unit("", way), format, SEEDS[:1]))
    rates = {top * 2.0**k for k in AROUND}
    for unit in UNITS:
        if unit.way == way and format != REFERENCE:
            rates.add(best_common(first, unit, SEEDS[:1])[0] / unit.factor(format))
    yield from sorted(rates)


def report(finished: Finished, rung_sizes: dict[str, float]) -> str:
    """All of it, as markdown; a rung of each format is of so many real units."""
    tables = [table(finished, unit) for unit in UNITS]
    last = in_real_units(finished, rung_sizes), paired(finished), summary(finished)
    return "\n\n".join([overview(finished), *tables, *last])


def overview(finished: Finished) -> str:
    """How many runs there are, what became of them, and whether the twin formats agree."""
    diverged = sum(run["diverged"] for run in finished.values())
    pairs = [(run, finished.get((w, TWIN, r, s))) for (w, f, r, s), run in finished.items() if f == "e0m7"]
    same = [run["validation"] == other["validation"] for run, other in pairs if other]
    seconds = sum(run["seconds"] for run in finished.values())
    return (
        f"{len(finished)} runs, {diverged} diverged, {seconds / 60:.0f} minutes. "
        f"{TWIN} and e0m7, one grid: the same loss, bit for bit, in {sum(same)} of {len(same)} pairs."
    )


def table(finished: Finished, unit: Unit) -> str:
    """A row per format: its best rate, over all seeds and in each, and its loss there and at the common rate."""
    common, costs = best_common(finished, unit, SEEDS)
    lines = [f"Rates in {unit.name}; the best common one is {common:.3g}:", ""]
    lines += ["| format | best rate | in each seed | loss there | spread over seeds | common rate | diverged |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for format in (*COMPARED, REFERENCE) if unit.way == "adamw" else COMPARED:
        losses = curve(finished, unit, format, SEEDS)
        rate = best(losses)
        each = [curve(finished, unit, format, [seed]) for seed in SEEDS]
        runs = [run for (way, f, _, _), run in finished.items() if (way, f) == (unit.way, format)]
        lines.append(
            f"| {format} | {rate:.3g}{'' if min(losses) < rate < max(losses) else ' (an end)'} | {_list(map(best, each))} "
            f"| {losses[rate]:.3f} | {statistics.stdev(one[rate] for one in each):.3f} "
            f"| {f'+{costs[format]:.3f}' if format in costs else ''} "
            f"| {sum(run['diverged'] for run in runs)} of {len(runs)} |"
        )
    return "\n".join(lines)


def in_real_units(finished: Finished, rung_sizes: dict[str, float]) -> str:
    """The best rates of the walks as steps in real units, beside those of AdamW."""
    lines = ["Best rates as steps in real units, root mean square over the initial weights:", ""]
    lines += [f"| | {' | '.join(COMPARED)} |", "|---|" + "---|" * len(COMPARED)]
    for unit, sizes in ((UNITS[0], rung_sizes), (UNITS[2], dict.fromkeys(COMPARED, 1.0))):
        steps = (best(curve(finished, unit, format, SEEDS)) * sizes[format] for format in COMPARED)
        lines.append(f"| {unit.way} | {' | '.join(f'{step:.2g}' for step in steps)} |")
    return "\n".join(lines)


def paired(finished: Finished) -> str:
    """Losses less those of the walk at its best rate, seed by seed: AdamW at its own, variants at the same rate."""
    others = ("adamw", *CONTROLS)
    lines = ["Loss less that of the walk at its best rate, mean and each seed; AdamW at its own best rate:", ""]
    lines += [f"| format | {' | '.join(others)} |", "|---|" + "---|" * len(others)]
    for format in COMPARED:
        rate = best(curve(finished, BINADES, format, SEEDS))
        rates = {"adamw": best(curve(finished, UNITS[2], format, SEEDS)), **dict.fromkeys(CONTROLS, rate)}
        cells = []
        for way in others:
            pairs = [(finished.get((way, format, rates[way], s)), finished["walk", format, rate, s]) for s in SEEDS]
            cells.append(
                _differences([(a["validation"], b["validation"]) for a, b in pairs if a and not a["diverged"]])
            )
        lines.append(f"| {format} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _differences(pairs: list[tuple[float, float]]) -> str:
    found = [a - b for a, b in pairs]
    return f"{statistics.fmean(found):+.3f} ({', '.join(f'{each:+.3f}' for each in found)})" if found else ""


def summary(finished: Finished) -> str:
    """A row per unit: how far apart the best rates are, and what one rate for all costs."""
    lines = ["| rate in | largest / smallest best rate | in each seed | one rate for all costs | at most |"]
    lines += ["|---|---|---|---|---|"]
    for unit in UNITS:
        ratios = [_ratio(finished, unit, seeds) for seeds in (SEEDS, *([seed] for seed in SEEDS))]
        costs = best_common(finished, unit, SEEDS)[1]
        worst = max(costs, key=lambda format: costs[format])
        lines.append(
            f"| {unit.name} | {ratios[0]:.3g} | {_list(ratios[1:])} | +{statistics.fmean(costs.values()):.3f} "
            f"| +{costs[worst]:.3f} ({worst}) |"
        )
    return "\n".join(lines)


def _ratio(finished: Finished, unit: Unit, seeds: Sequence[int]) -> float:
    rates = [best(curve(finished, unit, format, seeds)) for format in COMPARED]
    return max(rates) / min(rates)


def _list(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:.3g}" for number in numbers)
