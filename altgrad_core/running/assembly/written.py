"""Recipes as a manifest has them: the tables of quantizers and rules that are values here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from altgrad_core.contracts.actions import Role
from altgrad_core.errors import PluginError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.registry.registry import installed

Chosen = Mapping[str, Mapping[Role, Quantizer]]
"""By layer and role, how the operand is quantized."""


def quantizer_table(quantizer: Quantizer) -> dict[str, Any]:
    """A quantizer as a table of a recipe; what is as usual is left out."""
    own, usual = _keys(quantizer), _keys(Quantizer(quantizer.format))
    options = {key: value for key, value in own.items() if value != usual[key]}
    return {"format": _format_choice(quantizer.target), **options}


def _keys(quantizer: Quantizer) -> dict[str, Any]:
    """What a manifest says besides the format."""
    rule = quantizer.scale_rule
    return {
        "rounding": quantizer.rounding,
        "scaling": rule.kind,
        "scale_rounding": rule.rounding,
        "granularity": rule.granularity,
        "scale_format": rule.scale_format,
        "history": rule.history,
        "margin": rule.margin,
        "overflow": quantizer.overflow,
        "straight_through": quantizer.straight_through,
        "nonfinite": quantizer.nonfinite,
    }


def recipe_tables(chosen: Chosen) -> list[dict[str, Any]]:
    """`[[recipe]]` tables that give every layer its quantizers; layers that have the same ones share a table."""
    groups: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for path, roles in chosen.items():
        tables = {str(role): quantizer_table(quantizer) for role, quantizer in roles.items()}
        groups.setdefault(repr(sorted(tables.items())), ([], tables))[0].append(literal(path))
    return [{"layers": "|".join(layers), **tables} for layers, tables in groups.values()]


def literal(path: str) -> str:
    """A pattern that matches this path alone."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in path)


def _format_choice(format: Format) -> str | dict[str, Any]:
    """The name of a format that is installed as it is here; the facts of any other."""
    try:
        is_installed = installed().get("format", format.name).facts() == format.facts()
    except PluginError:
        is_installed = False
    facts = format.facts()
    if is_installed or "exponent_bits" not in facts:
        return format.name
    return {key: value for key, value in facts.items() if key != "bits"}
