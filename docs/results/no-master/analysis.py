"""Computes every number of the page on weights without a float32 copy from its tables.

python docs/results/no-master/analysis.py                # prints the tables of the page
python docs/results/no-master/analysis.py --write        # also writes them there, and tables/contrasts.csv
python docs/results/no-master/analysis.py --collect DIR  # copies the cells of reported studies to tables/ first
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from arms import (
    Contrast,
    Losses,
    Row,
    Tables,
    cells_of,
    difference,
    interval,
    judged,
    main,
    mean,
    tried,
    variant_of,
    verdict,
)

TABLES = Path(__file__).parent / "tables"
PAGE = Path(__file__).parent / "README.md"
WEIGHTS = ("e4m3", "e3m2", "e2m1")
MASTER, STOCHASTIC, NEAREST, RUNGS = "float32 copy", "stochastic", "nearest", "rungs"
STEPS = {
    "adamw": MASTER,
    "adamw-stochastic": STOCHASTIC,
    "adamw-stochastic (rounding=nearest-even)": NEAREST,
    "grid": RUNGS,
}
PAIRS = ((STOCHASTIC, MASTER), (NEAREST, MASTER), (RUNGS, MASTER), (RUNGS, STOCHASTIC))
FIRST, AGAIN = "claim-update-precision", "claim-update-precision-again"
UPDATES, BITS = ("madam", "nearest", "stochastic"), (16, 14, 12, 10, 8)
FEW, MANY = 10, 16  # bits that the registered hypothesis compares
LOWER = {"madam": 0.02528, "nearest": 0.000632, "stochastic": 0.000632}  # the rates next below the best ones


def stored() -> dict[tuple[str, str], Losses]:
    """The losses of `no-master.toml` by weights and step."""
    return judged(cells_of(TABLES / "no-master.csv"), lambda row: (row["format"], STEPS[row["optimizer"]]))


def arm_of(row: Row) -> tuple[str, int]:
    """The update and the bits of a stored weight."""
    update, bits = variant_of(row).rsplit("-", 1)
    return update, int(bits)


def by_bits(study: str) -> dict[tuple[str, int], Losses]:
    """The losses of a study of bits by update and bits of a stored weight."""
    return judged(cells_of(TABLES / f"{study}.csv"), arm_of)


def at_lower_rates() -> dict[tuple[str, int], Losses]:
    """Those of the first study at the rate next below the best one of each update."""
    found = tried(cells_of(TABLES / f"{FIRST}.csv"), arm_of)
    return {(update, bits): rates[LOWER[update]] for (update, bits), rates in found.items()}


def steps() -> dict[str, Contrast]:
    """What each step without a copy ends above AdamW with one, and rungs above stochastic rounding, by weights."""
    found = stored()
    return {
        name: difference(name, found[weights, one], found[weights, other])
        for one, other in PAIRS
        for weights in WEIGHTS
        for name in [f"{weights}: {one} - {other}"]
    }


def bits(study: str) -> dict[str, Contrast]:
    """What fewer bits add to the loss at 16 bits, by update; that of AdamW less that of LNS-Madam; and at lower rates."""
    lost = _added(by_bits(study))
    nothing = dict.fromkeys(lost["madam", FEW], 0.0)
    pairs = {f"{update}: {few} - {MANY} bits": (losses, nothing) for (update, few), losses in lost.items()}
    for other in UPDATES[1:]:
        for few in BITS[1:]:
            pairs[f"{other} - madam: {few} - {MANY} bits"] = lost[other, few], lost["madam", few]
    for (update, few), losses in _added(at_lower_rates()).items() if study == FIRST else ():
        if few <= FEW:
            pairs[f"{update} at {LOWER[update]:g}: {few} - {MANY} bits"] = losses, nothing
    return {name: difference(f"{study}: {name}", one, less) for name, (one, less) in pairs.items()}


def _added(found: Mapping[tuple[str, int], Losses]) -> dict[tuple[str, int], Losses]:
    """What fewer bits than 16 add to the loss of every seed."""
    return {
        (update, few): {seed: loss - found[update, MANY][seed] for seed, loss in found[update, few].items()}
        for update in UPDATES
        for few in BITS[1:]
    }


def steps_table() -> str:
    """Losses by weights and step, then differences."""
    found = stored()
    lines = [f"| weights | {' | '.join(STEPS.values())} |", "|---|" + "---|" * len(STEPS)]
    for weights in WEIGHTS:
        lines.append(f"| {weights} | {' | '.join(f'{mean(found[weights, step]):.3f}' for step in STEPS.values())} |")
    lines += ["", "| difference of losses | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in steps().items()]
    return "\n".join(lines)


def bits_table(study: str) -> str:
    """Losses by update and bits, then what fewer bits add."""
    found, listed = by_bits(study), bits(study)
    lines = [f"| bits | {' | '.join(UPDATES)} |", "|---|" + "---|" * len(UPDATES)]
    for count in BITS:
        lines.append(f"| {count} | {' | '.join(f'{mean(found[update, count]):.3f}' for update in UPDATES)} |")
    lines += ["", "| added to the loss | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in listed.items()]
    registered = listed[f"nearest - madam: {FEW} - {MANY} bits"]
    return "\n".join([*lines, f"| **the registered difference**: {verdict(registered)} | {interval(registered)} | |"])


TABLES_OF_THE_PAGE: Tables = {
    "steps without a copy": steps_table,
    "bits of an update": lambda: bits_table(FIRST),
    "bits of an update again": lambda: bits_table(AGAIN),
}


def contrasts() -> list[Contrast]:
    """All of them, in the order of the page."""
    return [*steps().values(), *bits(FIRST).values(), *bits(AGAIN).values()]


if __name__ == "__main__":
    main(PAGE, str(__doc__), TABLES_OF_THE_PAGE, contrasts)
