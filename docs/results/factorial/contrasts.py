"""Computes every number of the factorial's text from its tables: gains, their differences, and intervals.

    python docs/results/factorial/contrasts.py           # prints the tables of the text
    python docs/results/factorial/contrasts.py --write   # also writes them there, the tables of contrasts and gains.svg

Losses are those of `cells.csv`, of 250 steps, and of `longer/cells.csv`, of 1000. A seed is judged at the rate that is best
on average over the other seeds, of the rates that all seeds tried: 250 steps, a factor of 1.78 apart; 1000 steps, two rates 1.33
apart around the best of four that the first seed tried. A gain is the loss with AdamW less that with another
step, of the same weights and seed. Intervals are Student's t over seeds.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TypeVar

from scipy import stats

TABLES = Path(__file__).parent / "tables"
TEXT = Path(__file__).parents[1] / "README.md"
CELLS = {250: TABLES / "cells.csv", 1000: TABLES / "longer" / "cells.csv"}
BASES, FACTORS = (0.001, 0.1, 0.0178), (0.3156, 0.5618, 1.0, 1.78, 3.168)  # of the manifest
COARSE = {float(f"{base * factor:.4g}") for base in BASES for factor in FACTORS}
MARGIN = 0.005  # nats per byte: gains that differ by less count as equal; from the plan of the study
WEIGHTS = ("fp32", "e4m3", "e0m7", "e7m0")
RELATIVE = ("RMS", "shuffled", "E4M3 line", "own line")

Losses = Mapping[int, float]  # by seed
Setting = TypeVar("Setting", bound=Hashable)


@dataclass(frozen=True)
class Contrast:
    """A mean of paired differences, with what a referee asks of it.

    Attributes:
        low, high: the 95 % interval of the mean by Student's t.
        p: exact, two-sided, over all changes of signs.
        is_within: whether the 90 % interval lies within `MARGIN` of zero: two one-sided tests at 5 %.
    """

    name: str
    pairs: int
    mean: float
    low: float
    high: float
    p: float
    is_within: bool


def contrast(name: str, differences: Sequence[float]) -> Contrast:
    """The contrast of two differences or more."""
    count, mean = len(differences), math.fsum(differences) / len(differences)
    error = math.sqrt(math.fsum((d - mean) ** 2 for d in differences) / (count - 1) / count)
    half, narrow = (float(stats.t.ppf(level, count - 1)) * error for level in (0.975, 0.95))
    sums = [0.0]
    for difference in differences:
        sums = [total + sign * difference for total in sums for sign in (1, -1)]
    p = sum(abs(total) >= abs(mean) * count - 1e-12 for total in sums) / len(sums)
    return Contrast(name, count, mean, mean - half, mean + half, p, abs(mean) + narrow < MARGIN)


def losses_by_rate(
    table: Path, is_wanted: Callable[[float], bool] = lambda rate: True
) -> dict[tuple[str, str], dict[float, dict[int, float]]]:
    """The losses of `cells.csv`, by weights and step, then by rate, then by seed; infinite for a run that diverged."""
    rates: dict[tuple[str, str], dict[float, dict[int, float]]] = {}
    with table.open() as file:
        for row in csv.DictReader(file):
            loss, rate = float(row["validation_loss"]) if row["status"] == "finished" else math.inf, float(row["rate"])
            if is_wanted(rate):
                arm = rates.setdefault((row["weights"], row["step"]), {})
                arm.setdefault(rate, {})[int(row["seed"])] = loss
    return rates


def arms(table: Path, *, finer: bool = False, pooled: bool = False) -> dict[tuple[str, str], Losses]:
    """The loss of every seed at the rate that is chosen for it, by weights and step.

    Args:
        finer: whether rates half as far apart count too; of some arms there are none.
        pooled: whether one rate is chosen for all seeds, by all of them.
    """
    is_finest = finer or table != CELLS[250]
    rates = losses_by_rate(table, lambda rate: is_finest or rate in COARSE)
    return {arm: chosen(tried, pooled=pooled) for arm, tried in rates.items()}


def chosen(rates: Mapping[Setting, Losses], *, pooled: bool = False) -> Losses:
    """Each seed at the rate, or another setting, that is best on average over the others, or over all, of those that all of them tried."""
    seeds = {seed for losses in rates.values() for seed in losses}
    full = {rate: losses for rate, losses in rates.items() if losses.keys() == seeds}

    def best(left_out: int | None) -> Setting:
        return min(full, key=lambda rate: math.fsum(full[rate][seed] for seed in seeds if seed != left_out))

    return (
        {seed: full[best(None if pooled else seed)][seed] for seed in sorted(seeds)} if full and len(seeds) > 1 else {}
    )


def gains(found: Mapping[tuple[str, str], Losses]) -> dict[tuple[str, str], Losses]:
    """AdamW's loss less that of every other step, by weights and step."""
    return {
        (weights, step): {seed: found[weights, "AdamW"][seed] - loss for seed, loss in losses.items()}
        for (weights, step), losses in found.items()
        if step != "AdamW" and losses.keys() == found.get((weights, "AdamW"), {}).keys() and losses
    }


def contrasts(table: Path) -> list[Contrast]:
    """Every gain, then the differences between gains: of weights with the same step, of steps on the same weights."""
    found = gains(arms(table))
    if ("e4m3", "E4M3 line") in found:
        found["e4m3", "own line"] = found["e4m3", "E4M3 line"]  # of which it is the own one
    order = [(weights, step) for step in RELATIVE for weights in WEIGHTS if (weights, step) in found]
    pairs = [
        *(((one, step), (other, step)) for step in RELATIVE for one, other in PAIRS_OF_WEIGHTS),
        *(((weights, "E4M3 line"), (weights, step)) for step in RELATIVE for weights in WEIGHTS if step != "E4M3 line"),
    ]
    listed = [contrast(named(arm), list(found[arm].values())) for arm in order if arm != ("e4m3", "own line")]
    for one, other in pairs:
        if one in found and other in found and found[one] is not found[other]:
            shared = sorted(found[one].keys() & found[other].keys())
            listed.append(contrast(f"{named(one)} - {named(other)}", [found[one][s] - found[other][s] for s in shared]))
    return listed


PAIRS_OF_WEIGHTS = (("e4m3", "fp32"), ("e4m3", "e0m7"), ("e0m7", "fp32"), ("e7m0", "fp32"), ("e4m3", "e7m0"))


def named(arm: tuple[str, str]) -> str:
    """What an arm is called, such as `fp32, E4M3 line`."""
    return f"{arm[0]}, {arm[1]}"


def markdown(table: Path) -> str:
    """The tables of the text: losses, gains and differences of gains."""
    found, listed = arms(table), {c.name: c for c in contrasts(table)}
    steps = ["AdamW", *RELATIVE]
    lines = [f"| weights | {' | '.join(steps)} |", "|---|" + "---|" * len(steps)]
    for weights in WEIGHTS:
        if losses := found.get((weights, "AdamW")):
            gained = [listed.get(named((weights, step))) for step in RELATIVE]
            cells = [f"{mean(losses):.3f}", *("" if c is None else interval(c) for c in gained)]
            lines.append(f"| {weights} | {' | '.join(cells)} |")
    lines += ["", "| difference of gains | mean | 95 % | p | equal within 0.005 |", "|---|---|---|---|---|"]
    for c in listed.values():
        if " - " in c.name:
            told = "yes" if c.is_within else "not shown"
            lines.append(f"| {c.name} | {nats(c.mean)} | {nats(c.low)} to {nats(c.high)} | {c.p:.3f} | {told} |")
    return "\n".join(lines)


def sensitivity(table: Path) -> str:
    """How the main contrasts depend on how rates are chosen."""
    lines = [f"| rates | {' | '.join(['fp32', 'e4m3', 'e0m7', 'e4m3 - fp32', 'e4m3 - e0m7', 'e0m7 - fp32'])} |"]
    lines.append("|---|" + "---|" * 6)
    for told, options in CHOICES.items():
        found = gains(arms(table, **options))
        line = {weights: found[weights, "E4M3 line"] for weights in ("fp32", "e4m3", "e0m7")}
        pairs = [(line[a], line[b]) for a, b in (("e4m3", "fp32"), ("e4m3", "e0m7"), ("e0m7", "fp32"))]
        values = [*(list(losses.values()) for losses in line.values()), *([x[s] - y[s] for s in x] for x, y in pairs)]
        lines.append(f"| {told} | {' | '.join(interval(contrast('', row)) for row in values)} |")
    return "\n".join(lines)


CHOICES = {
    "1.78 apart, chosen by the other seeds": {},
    "1.33 apart, chosen by the other seeds": {"finer": True},
    "1.33 apart, one for all seeds": {"finer": True, "pooled": True},
}


def interval(c: Contrast) -> str:
    """A mean with its 95 % interval, as the text has it."""
    return f"{nats(c.mean)} ({nats(c.low)} to {nats(c.high)})"


def nats(value: float) -> str:
    """A difference of losses to four digits, without the sign of a zero."""
    return f"{round(value, 4) + 0.0:.4f}"


def mean(losses: Losses) -> float:
    """Over seeds."""
    return math.fsum(losses.values()) / len(losses)


def write(path: Path, listed: Sequence[Contrast]) -> None:
    """The contrasts as CSV, numbers in full."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Contrast))
        writer.writerows(astuple(c) for c in listed)


def embedded(text: str) -> str:
    """A text with the tables below their marks as they are computed now."""
    for steps, table in CELLS.items():
        if table.exists():
            text = with_table(text, f"<!-- {steps} steps, by contrasts.py -->\n", markdown(table))
    return with_table(text, "<!-- choice of rates, by contrasts.py -->\n", sensitivity(CELLS[250]))


def with_table(text: str, mark: str, table: str) -> str:
    """A text in which the tables below a line are replaced."""
    return re.sub(rf"({re.escape(mark)})(?:\|.*\n|\n(?=\|))*", lambda found: f"{found[1]}{table}\n", text)


def main() -> None:
    """Print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write tables, figure and the tables of the text too")
    is_writing = parser.parse_args().write
    found = {steps: table for steps, table in CELLS.items() if table.exists()}
    print("\n\n".join([*(markdown(table) for table in found.values()), sensitivity(CELLS[250])]))
    if is_writing:
        from figure import draw

        for table in found.values():
            write(table.with_name("contrasts.csv"), contrasts(table))
        draw({steps: contrasts(table) for steps, table in found.items()}, TABLES.with_name("gains.svg"))
        TEXT.write_text(embedded(TEXT.read_text()))


if __name__ == "__main__":
    main()
