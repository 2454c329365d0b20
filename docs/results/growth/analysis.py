"""Computes every number of the page on longer training and larger models from its tables.

    python docs/results/growth/analysis.py                # prints the tables of the page
    python docs/results/growth/analysis.py --write        # also writes them there, and tables/contrasts.csv
    python docs/results/growth/analysis.py --collect DIR  # copies the cells of reported studies to tables/ first

A gain is the loss with AdamW less that with a step along the line of E4M3, of the same seed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parents[1]))
from arms import Contrast, Losses, Tables, cells_of, contrast, difference, interval, judged, main, mean, tried, verdict

TABLES = Path(__file__).parent / "tables"
PAGE = Path(__file__).parent / "README.md"
WEIGHTS = ("e4m3", "fp32")
FEW, MANY = 500, 4000  # steps that the registered hypothesis compares
WIDE = (1000, 4000)  # steps of the study at width 128
SEARCHED, TWICE = 0.001854, 0.003708  # AdamW's rate from the search at 1000 steps, and the next one that was tried

Arm = tuple[str, bool, int]
"""Weights, whether the optimizer is AdamW, and steps or parameters."""


def losses_of(study: str, column: str) -> dict[Arm, Losses]:
    """The losses of every arm, each seed at the rate that the others choose; `column` is what varies."""
    rows = cells_of(TABLES / f"{study}.csv")
    return judged(rows, lambda row: (row["format"], row["optimizer"] == "adamw", int(row[column])))


def missed() -> dict[str, Contrast]:
    """AdamW's loss after 1000 steps at the rate that the search found, less that at twice the rate, by weights."""
    rates = tried(
        cells_of(TABLES / "gain-by-steps.csv"),
        lambda row: row["format"] if (row["optimizer"], row["steps"]) == ("adamw", "1000") else None,
    )
    return {
        name: difference(name, rates[weights][SEARCHED], rates[weights][TWICE])
        for weights in WEIGHTS
        for name in [f"{weights}, 1000 steps: AdamW at {SEARCHED} - at {TWICE}"]
    }


def gains(found: Mapping[Arm, Losses]) -> dict[tuple[str, int], Losses]:
    """The gain of every seed by weights and size, ascending."""
    return {
        (weights, size): {seed: losses[seed] - found[weights, False, size][seed] for seed in losses}
        for (weights, is_adamw, size), losses in sorted(found.items())
        if is_adamw
    }


def exponents(gained: Mapping[int, Losses]) -> list[float]:
    """By seed, b of the power law gain = a size^b, by least squares of the logarithms; empty where a gain is not above zero."""
    if min(min(losses.values()) for losses in gained.values()) <= 0:
        return []
    seeds = sorted(next(iter(gained.values())))
    logs = np.log(list(gained))
    return [float(np.polyfit(logs, np.log([losses[seed] for losses in gained.values()]), 1)[0]) for seed in seeds]


def steps() -> dict[str, Contrast]:
    """Gains by weights and steps, then what they gain more at the end, differences of weights, and exponents."""
    found = gains(losses_of("gain-by-steps", "steps"))
    names = {arm: f"{arm[0]}: gain, {arm[1]} steps" for arm in found}
    listed = {name: contrast(name, list(found[arm].values())) for arm, name in names.items()}
    lengths = sorted({size for _, size in found})
    for weights in WEIGHTS:
        name = f"{weights}: gain after {MANY} - {FEW} steps"
        listed[name] = difference(name, found[weights, MANY], found[weights, FEW])
    for size in lengths:
        name = f"{size} steps: gain on e4m3 - fp32"
        listed[name] = difference(name, found["e4m3", size], found["fp32", size])
    listed |= missed()
    for weights in WEIGHTS:
        listed |= _exponent(f"{weights}: exponent of steps", {s: found[weights, s] for s in lengths if s >= FEW})
    return listed


def widths() -> dict[str, Contrast]:
    """Gains by parameters, that of the largest model less that of the smallest, and the exponent."""
    found = {size: losses for (_, size), losses in gains(losses_of("gain-by-width", "parameters")).items()}
    listed = {
        f"gain, {size} parameters": contrast(f"gain, {size} parameters", list(own.values()))
        for size, own in found.items()
    }
    least, *_, most = found
    name = f"gain with {most} - {least} parameters"
    return listed | {name: difference(name, found[most], found[least])} | _exponent("exponent of parameters", found)


def wide() -> dict[str, Contrast]:
    """Gains at width 128 by steps, those less the gains at width 64 of the same seeds, and what the gain changes by."""
    large, small = (gains(losses_of(study, "steps")) for study in ("gain-by-steps-wide", "gain-by-steps"))
    return _at_width_128("e4m3", "width 128", large, small)


def control() -> dict[str, Contrast]:
    """The same on unquantized weights, after the gains on weights in E4M3 less those."""
    e4m3, small = (gains(losses_of(study, "steps")) for study in ("gain-by-steps-wide", "gain-by-steps"))
    fp32 = gains(losses_of("gain-by-steps-wide-unquantized", "steps"))
    names = {steps: f"width 128, {steps} steps: gain on e4m3 - fp32" for steps in reversed(WIDE)}
    differences = {name: difference(name, e4m3["e4m3", steps], fp32["fp32", steps]) for steps, name in names.items()}
    return differences | _at_width_128("fp32", "fp32, width 128", fp32, small)


Gains = Mapping[tuple[str, int], Losses]


def _at_width_128(weights: str, prefix: str, large: Gains, small: Gains) -> dict[str, Contrast]:
    listed = {}
    for steps in WIDE:
        name = f"{prefix}: gain, {steps} steps"
        listed[name] = contrast(name, list(large[weights, steps].values()))
    kind = "" if weights == "e4m3" else f"{weights}, "
    for steps in reversed(WIDE):
        name = f"{kind}{steps} steps: gain at width 128 - at width 64"
        listed[name] = difference(name, large[weights, steps], small[weights, steps])
    few, many = WIDE
    name = f"{prefix}: gain after {many} - {few} steps"
    return listed | {name: difference(name, large[weights, many], large[weights, few])}


def _exponent(name: str, gained: Mapping[int, Losses]) -> dict[str, Contrast]:
    values = exponents(gained)
    return {name: contrast(name, values)} if values else {}


def steps_table() -> str:
    """Losses and gains by steps, then what was registered."""
    found, listed = losses_of("gain-by-steps", "steps"), steps()
    heads = [f"{head}, {weights}" for weights in WEIGHTS for head in ("AdamW", "line", "gain")]
    lines = [f"| steps | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for size in sorted({size for _, _, size in found}):
        cells = []
        for weights in WEIGHTS:
            cells += [f"{mean(found[weights, is_adamw, size]):.3f}" for is_adamw in (True, False)]
            cells.append(interval(listed[f"{weights}: gain, {size} steps"]))
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_rest(listed)])


def widths_table() -> str:
    """Losses and gains by parameters, then differences."""
    found, listed = losses_of("gain-by-width", "parameters"), widths()
    lines = ["| parameters | AdamW | line | gain |", "|---|---|---|---|"]
    for size in sorted({size for _, _, size in found}):
        cells = [f"{mean(found['e4m3', is_adamw, size]):.3f}" for is_adamw in (True, False)]
        lines.append(f"| {size} | {' | '.join(cells)} | {interval(listed[f'gain, {size} parameters'])} |")
    return "\n".join([*lines, "", *_rest(listed)])


def wide_table() -> str:
    """Losses and gains at width 128 by steps, then differences."""
    told = verdict(wide()[f"{WIDE[1]} steps: gain at width 128 - at width 64"])
    last = f"| **the second part of what was registered**: {told} | | |"
    return _wide_table("gain-by-steps-wide", "e4m3", "width 128", wide(), last)


def control_table() -> str:
    """The same on unquantized weights."""
    told = verdict(control()[f"fp32, width 128: gain, {WIDE[1]} steps"])
    last = f"| **what was registered**: {told} | | |"
    return _wide_table("gain-by-steps-wide-unquantized", "fp32", "fp32, width 128", control(), last)


def _wide_table(study: str, weights: str, prefix: str, listed: Mapping[str, Contrast], last: str) -> str:
    found = losses_of(study, "steps")
    lines = ["| steps | AdamW | line | gain |", "|---|---|---|---|"]
    for steps in WIDE:
        cells = [f"{mean(found[weights, is_adamw, steps]):.3f}" for is_adamw in (True, False)]
        lines.append(f"| {steps} | {' | '.join(cells)} | {interval(listed[f'{prefix}: gain, {steps} steps'])} |")
    return "\n".join([*lines, "", *_rest(listed), last])


def _rest(listed: Mapping[str, Contrast]) -> Sequence[str]:
    rest = {name: c for name, c in listed.items() if "gain, " not in name}
    return ["| | mean | p |", "|---|---|---|", *(f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in rest.items())]


TABLES_OF_THE_PAGE: Tables = {
    "gain by steps": steps_table,
    "gain by width": widths_table,
    "gain by steps at width 128": wide_table,
    "gain by steps at width 128 on unquantized weights": control_table,
}


def contrasts() -> list[Contrast]:
    """All of them, in the order of the page."""
    return [*steps().values(), *widths().values(), *wide().values(), *control().values()]


if __name__ == "__main__":
    main(PAGE, str(__doc__), TABLES_OF_THE_PAGE, contrasts)
