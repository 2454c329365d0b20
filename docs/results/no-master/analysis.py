"""Computes every number of the page on weights without a float32 copy from its tables.

python docs/results/no-master/analysis.py                # prints the tables of the page
python docs/results/no-master/analysis.py --write        # also writes them there, and tables/contrasts.csv
python docs/results/no-master/analysis.py --collect DIR  # copies the cells of reported studies to tables/ first
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from arms import Contrast, Losses, Row, Tables, cells_of, difference, interval, judged, main, mean, variant_of, verdict

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
UPDATES, BITS = ("madam", "nearest", "stochastic"), (16, 14, 12, 10, 8)
FEW, MANY = 10, 16  # bits that the registered hypothesis compares


def stored() -> dict[tuple[str, str], Losses]:
    """The losses of `no-master.toml` by weights and step."""
    return judged(cells_of(TABLES / "no-master.csv"), lambda row: (row["format"], STEPS[row["optimizer"]]))


def by_bits() -> dict[tuple[str, int], Losses]:
    """The losses of `claim-update-precision.toml` by update and bits of a stored weight."""

    def arm_of(row: Row) -> tuple[str, int]:
        update, bits = variant_of(row).rsplit("-", 1)
        return update, int(bits)

    return judged(cells_of(TABLES / "claim-update-precision.csv"), arm_of)


def steps() -> dict[str, Contrast]:
    """What each step without a copy ends above AdamW with one, and rungs above stochastic rounding, by weights."""
    found = stored()
    return {
        name: difference(name, found[weights, one], found[weights, other])
        for one, other in PAIRS
        for weights in WEIGHTS
        for name in [f"{weights}: {one} - {other}"]
    }


def bits() -> dict[str, Contrast]:
    """What fewer bits add to the loss at 16 bits, by update; then that of AdamW less that of LNS-Madam."""
    found = by_bits()
    lost = {
        (update, few): {seed: loss - found[update, MANY][seed] for seed, loss in found[update, few].items()}
        for update in UPDATES
        for few in BITS
        if few != MANY
    }
    nothing = dict.fromkeys(lost["madam", FEW], 0.0)
    pairs = {f"{update}: {few} - {MANY} bits": (losses, nothing) for (update, few), losses in lost.items()}
    for other in UPDATES[1:]:
        for few in BITS[1:]:
            pairs[f"{other} - madam: {few} - {MANY} bits"] = lost[other, few], lost["madam", few]
    return {name: difference(name, one, less) for name, (one, less) in pairs.items()}


def steps_table() -> str:
    """Losses by weights and step, then differences."""
    found = stored()
    lines = [f"| weights | {' | '.join(STEPS.values())} |", "|---|" + "---|" * len(STEPS)]
    for weights in WEIGHTS:
        lines.append(f"| {weights} | {' | '.join(f'{mean(found[weights, step]):.3f}' for step in STEPS.values())} |")
    lines += ["", "| difference of losses | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in steps().items()]
    return "\n".join(lines)


def bits_table() -> str:
    """Losses by update and bits, then what fewer bits add."""
    found, listed = by_bits(), bits()
    lines = [f"| bits | {' | '.join(UPDATES)} |", "|---|" + "---|" * len(UPDATES)]
    for count in BITS:
        lines.append(f"| {count} | {' | '.join(f'{mean(found[update, count]):.3f}' for update in UPDATES)} |")
    lines += ["", "| added to the loss | mean | p |", "|---|---|---|"]
    lines += [f"| {name} | {interval(c)} | {c.p:.3f} |" for name, c in listed.items()]
    registered = listed[f"nearest - madam: {FEW} - {MANY} bits"]
    return "\n".join([*lines, f"| **the registered difference**: {verdict(registered)} | {interval(registered)} | |"])


TABLES_OF_THE_PAGE: Tables = {"steps without a copy": steps_table, "bits of an update": bits_table}


def contrasts() -> list[Contrast]:
    """All of them, in the order of the page."""
    return [*steps().values(), *bits().values()]


if __name__ == "__main__":
    main(PAGE, str(__doc__), TABLES_OF_THE_PAGE, contrasts)
