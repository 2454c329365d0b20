"""What the formats of a study are: the facts that its runs recorded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from altgrad_core.contracts.reading import Reading
from altgrad_core.errors import FormatError
from altgrad_core.experiments.study.labels import UNQUANTIZED
from altgrad_core.experiments.study.study import Study
from altgrad_core.numerics.minifloat import Minifloat

REFERENCE_BITS = 16
Facts = Mapping[str, dict[str, Any]]
_FACTS = ("exponent_bits", "mantissa_bits", "bias", "specials", "subnormals", "signed")


def format_facts_of(study: Study) -> dict[str, dict[str, Any]]:
    """By name, the facts of every format that a cell recorded."""
    matches: dict[str, dict[str, Any]] = {}
    for result in study.results:
        formats = result.summary.get("formats")
        for facts in formats if isinstance(formats, list) else []:
            if isinstance(facts, dict) and isinstance(facts.get("name"), str):
                matches.setdefault(facts["name"], facts)
    return matches


def readings_of(study: Study) -> tuple[Reading, ...]:
    """Every reading that a cell recorded, in the order declared."""
    recorded = dict.fromkeys(name for result in study.results for name in result.run_summary.readings)
    facts: dict[str, Reading] = {}
    for result in study.results:
        for name, reading in result.run_summary.facts.items():
            facts.setdefault(name, reading)
    matches = [facts[name] for name in facts if name in recorded]
    return (*matches, *(Reading(name) for name in recorded if name not in facts))


def references_of(study: Study, recorded: Facts) -> tuple[str, ...]:
    """The formats of the study with 16 bits and more, which the others are judged beside: the narrowest first."""
    bits = {name: facts.get("bits") for name, facts in recorded.items()} | {UNQUANTIZED: 32}
    wide = {name: width for name in study.formats() if isinstance(width := bits.get(name), int)}
    return tuple(sorted((name for name in wide if wide[name] >= REFERENCE_BITS), key=lambda name: wide[name]))


def twins_of(study: Study, recorded: Facts) -> tuple[tuple[str, str], ...]:
    """Pairs of formats whose grids are one up to a power of two, so that they give the same runs under amax scaling."""
    shapes: dict[tuple[float, ...], list[str]] = {}
    for name in study.formats():
        if name in recorded and (shape := _shape(recorded[name])) is not None:
            shapes.setdefault(shape, []).append(name)
    return tuple((names[0], other) for names in shapes.values() for other in names[1:])


def _shape(facts: dict[str, Any]) -> tuple[float, ...] | None:
    """The rungs, in units of the power of two at or below the largest."""
    try:
        grid = Minifloat(**{key: facts[key] for key in _FACTS}).grid
    except (FormatError, KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None
    unit = 2.0 ** math.floor(math.log2(grid.largest))
    return tuple(value / unit for value in grid.values)
