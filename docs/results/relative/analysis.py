"""Computes every number of the page on relative rates from its tables.

python docs/results/relative/analysis.py                # prints the tables of the page
python docs/results/relative/analysis.py --write        # also writes them there, and tables/contrasts.csv
python docs/results/relative/analysis.py --collect DIR  # copies the cells of reported studies to tables/ first

A gain is the loss with AdamW less that with another step, of the same seed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from arms import (
    Contrast,
    Losses,
    Row,
    Tables,
    cells_of,
    chosen,
    difference,
    interval,
    judged,
    main,
    mean,
    tried,
    verdict,
)

TABLES = Path(__file__).parent / "tables"
PAGE = Path(__file__).parent / "README.md"
ADAMW, LINE, SHUFFLED, RMS = "AdamW", "E4M3 line", "shuffled", "RMS"
RELATIVE, INITIAL = "relative AdamW", "relative to the first weights"
FIRST_LINE, SWEPT, FIRST_RMS = (
    "line of the first weights",
    "line of the first weights, swept higher",
    "RMS of the first weights",
)
FIRST_RELATIVE = "relative to the first weights, with the settings of the line"
SHORT = 90  # steps of warm-up of the search

Rates = Mapping[float, Losses]


def step_of(row: Row) -> str:
    """The step in the words of the page."""
    name = row["optimizer"]
    if name.startswith("manifold-adamw"):
        return next((step for step in (SHUFFLED, RMS) if f"spacing={step.lower()}" in name), LINE)
    return {"adamw": ADAMW, "adamw-relative": RELATIVE, "adamw-relative (reference=initial)": INITIAL}[name]


def steps() -> dict[str, Losses]:
    """The losses of `fair-rates.toml` by step."""
    return judged(cells_of(TABLES / "fair-rates.csv"), step_of)


def of_steps() -> dict[str, Contrast]:
    """The registered difference, the gain of every step, and what every other relative step ends above the line."""
    found = steps()
    pairs = [
        (INITIAL, RELATIVE),
        *((ADAMW, step) for step in found if step != ADAMW),
        *((step, LINE) for step in found if step not in (ADAMW, LINE, INITIAL)),
    ]
    return {f"{one} - {other}": difference(f"{one} - {other}", found[one], found[other]) for one, other in pairs}


def of_the_first_line() -> dict[str, Contrast]:
    """The registered difference of `fair-line-initial.toml`, and what that step gains over AdamW."""
    found = {**steps(), **judged(cells_of(TABLES / "fair-line-initial.csv"), lambda row: FIRST_LINE)}
    return {
        name: difference(name, found[one], found[other])
        for one, other in ((FIRST_LINE, LINE), (ADAMW, FIRST_LINE))
        for name in [f"{one} - {other}"]
    }


def first_step_of(row: Row) -> str:
    """The step of a cell of `fair-line-initial-rms.toml`."""
    return FIRST_RMS if "spacing=initial-rms" in row["optimizer"] else SWEPT


def of_unequal_steps() -> dict[str, Contrast]:
    """The registered difference of `fair-line-initial-rms.toml`, what both steps gain over AdamW, and what follows growth gains over both."""
    found = {**steps(), **judged(cells_of(TABLES / "fair-line-initial-rms.csv"), first_step_of)}
    pairs = [(FIRST_RMS, SWEPT)]
    pairs += [pair for first in (SWEPT, FIRST_RMS) for pair in ((ADAMW, first), (first, LINE))]
    pairs.append((FIRST_RMS, RMS))
    return {f"{one} - {other}": difference(f"{one} - {other}", found[one], found[other]) for one, other in pairs}


def of_matrix_sizes() -> dict[str, Contrast]:
    """The registered difference of `fair-relative-initial.toml`, and what that step ends above the RMS of the first spacings."""
    rates = _rates_of_matrix_sizes()
    found = {
        **steps(),
        **judged(cells_of(TABLES / "fair-line-initial-rms.csv"), first_step_of),
        FIRST_RELATIVE: chosen(rates),
    }
    pairs = [(ADAMW, FIRST_RELATIVE), (FIRST_RELATIVE, FIRST_RMS), (FIRST_RELATIVE, SWEPT), (FIRST_RELATIVE, LINE)]
    return {f"{one} - {other}": difference(f"{one} - {other}", found[one], found[other]) for one, other in pairs}


def _rates_of_matrix_sizes() -> Rates:
    """All losses of `fair-relative-initial.toml` and of the same study at higher rates, by rate and seed."""
    cells = [row for end in ("", "-higher") for row in cells_of(TABLES / f"fair-relative-initial{end}.csv")]
    (rates,) = tried(cells, lambda row: FIRST_RELATIVE).values()
    return rates


def by_warmup() -> dict[tuple[str, int], Rates]:
    """All losses of `fair-warmup.toml` by step and warm-up, then by rate and seed."""
    return tried(cells_of(TABLES / "fair-warmup.csv"), lambda row: (step_of(row), warmup_of(row)))


def warmup_of(row: Row) -> int:
    """The steps of warm-up in the name of a cell."""
    found = re.search(r"-warmup(\d+)-", row["cell"])
    assert found is not None, row["cell"]
    return int(found[1])


def at_the_best_warmup(found: Mapping[tuple[str, int], Rates], step: str, warmups: Sequence[int]) -> Losses:
    """The loss of every seed of a step at the warm-up and the rate that its other seeds choose."""
    return chosen({(warmup, rate): losses for warmup in warmups for rate, losses in found[step, warmup].items()})


def of_warmups() -> dict[str, Contrast]:
    """The registered difference, the gain at every warm-up, and what a longer one gives."""
    found = by_warmup()
    warmups = sorted({warmup for _, warmup in found})
    longer = [warmup for warmup in warmups if warmup != SHORT]
    name = "AdamW - E4M3 line, the best warm-up of each"
    listed = {name: difference(name, *(at_the_best_warmup(found, step, warmups) for step in (ADAMW, LINE)))}
    for warmup in warmups:
        name = f"AdamW - E4M3 line, a warm-up of {warmup}"
        listed[name] = difference(name, *(chosen(found[step, warmup]) for step in (ADAMW, LINE)))
    for step in (ADAMW, LINE):
        name = f"{step}: a warm-up of {SHORT} - the best longer one"
        listed[name] = difference(name, chosen(found[step, SHORT]), at_the_best_warmup(found, step, longer))
    return listed


def _best(rates: Rates) -> str:
    """The rate that is best on average over all seeds, of those that all tried."""
    most = max(len(losses) for losses in rates.values())
    full = {rate: losses for rate, losses in rates.items() if len(losses) == most}
    return f"{min(full, key=lambda rate: mean(full[rate])):g}"


def steps_table() -> str:
    """The loss and the best rate of every step, then differences."""
    rates, found = tried(cells_of(TABLES / "fair-rates.csv"), step_of), steps()
    lines = ["| step | rate | loss |", "|---|---|---|"]
    lines += [f"| {step} | {_best(rates[step])} | {mean(losses):.3f} |" for step, losses in found.items()]
    return "\n".join([*lines, "", *_differences(of_steps())])


def first_line_table() -> str:
    """The rates and losses of the line with its first spacings, then differences."""
    (rates,) = tried(cells_of(TABLES / "fair-line-initial.csv"), lambda row: FIRST_LINE).values()
    lines = ["| rate | loss | seeds |", "|---|---|---|"]
    lines += [f"| {rate:g} | {mean(losses):.3f} | {len(losses)} |" for rate, losses in sorted(rates.items())]
    return "\n".join([*lines, "", *_differences(of_the_first_line())])


def unequal_steps_table() -> str:
    """The losses of both steps by rate, then differences."""
    rates = tried(cells_of(TABLES / "fair-line-initial-rms.csv"), first_step_of)
    lines = [f"| rate | {SWEPT} | {FIRST_RMS} |", "|---|---|---|"]
    for rate in sorted({rate for tried_ones in rates.values() for rate in tried_ones}):
        found = [rates[step].get(rate, {}) for step in (SWEPT, FIRST_RMS)]
        cells = [f"{mean(losses):.3f} ({len(losses)})" if losses else "" for losses in found]
        lines.append(f"| {rate:g} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_differences(of_unequal_steps())])


def matrix_sizes_table() -> str:
    """The losses of the step by rate, then differences."""
    lines = ["| rate | loss | seeds |", "|---|---|---|"]
    lines += [
        f"| {rate:g} | {mean(losses):.3f} | {len(losses)} |"
        for rate, losses in sorted(_rates_of_matrix_sizes().items())
    ]
    return "\n".join([*lines, "", *_differences(of_matrix_sizes())])


def warmups_table() -> str:
    """The loss and the best rate of each step at each warm-up, then differences."""
    found = by_warmup()
    lines = ["| warm-up | AdamW, rate | loss | E4M3 line, rate | loss |", "|---|---|---|---|---|"]
    for warmup in sorted({warmup for _, warmup in found}):
        cells = [
            cell
            for step in (ADAMW, LINE)
            for cell in (_best(found[step, warmup]), f"{mean(chosen(found[step, warmup])):.3f}")
        ]
        lines.append(f"| {warmup} steps | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_differences(of_warmups())])


def _differences(listed: Mapping[str, Contrast]) -> Sequence[str]:
    """A table whose first row is the registered difference, with its verdict."""
    lines = ["| difference of losses | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in listed.items()]
    registered = next(iter(listed.values()))
    return [*lines, f"| **the registered difference**: {verdict(registered)} | {interval(registered)} | |"]


TABLES_OF_THE_PAGE: Tables = {
    "steps": steps_table,
    "the line of the first weights": first_line_table,
    "unequal steps": unequal_steps_table,
    "sizes of matrices": matrix_sizes_table,
    "warm-ups": warmups_table,
}


def contrasts() -> list[Contrast]:
    """All of them, in the order of the page."""
    return [
        *of_steps().values(),
        *of_the_first_line().values(),
        *of_unequal_steps().values(),
        *of_matrix_sizes().values(),
        *of_warmups().values(),
    ]


if __name__ == "__main__":
    main(PAGE, str(__doc__), TABLES_OF_THE_PAGE, contrasts)
