"""A recipe: ordered rules that give layers and roles their quantizers. Later rules win, role by role."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from altgrad_core.contracts.actions import ROLES, Role
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.quantizer import Quantizer

MOST_NAMES = 40


@dataclass(frozen=True)
class Rule:
    """Quantizers for the layers that match a pattern; `None` leaves a role as earlier rules have it.

    Attributes:
        layers: an `fnmatch` pattern of layer paths such as `blocks.*`; several separated by `|`.
        weight, activation, gradient: of the weight, of the input, of the gradient of the output.
    """

    layers: str
    weight: Quantizer | None = None
    activation: Quantizer | None = None
    gradient: Quantizer | None = None


def matches(pattern: str, path: str) -> bool:
    """Whether a layer path matches a pattern, `|` separating alternatives."""
    return any(fnmatchcase(path, part.strip()) for part in pattern.split("|"))


def assign(rules: Sequence[Rule], paths: Sequence[str]) -> dict[str, dict[Role, Quantizer]]:
    """The quantizer of each role of each layer; layers that no rule touches are left out.

    Raises:
        ManifestError: a rule matches no layer; the message lists the layers.
    """
    assigned: dict[str, dict[Role, Quantizer]] = {}
    for index, rule in enumerate(rules):
        if (problem := unmatched(rule.layers, paths)) is not None:
            raise ManifestError(f"recipe[{index}].layers: {problem}")
        for path in paths:
            if matches(rule.layers, path):
                chosen = {role: q for role in ROLES if (q := getattr(rule, role)) is not None}
                assigned.setdefault(path, {}).update(chosen)
    return assigned


def unmatched(pattern: str, paths: Sequence[str]) -> str | None:
    """Why a pattern is wrong, if no layer matches it."""
    if any(matches(pattern, path) for path in paths):
        return None
    if not paths:
        return f'no layer matches "{pattern}": the model has no linear layer'
    near = difflib.get_close_matches(pattern, paths, n=1)
    guess = f'; did you mean "{near[0]}"?' if near else ";"
    listed = ", ".join(paths[:MOST_NAMES]) + (f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else "")
    return f'no layer matches "{pattern}"{guess} the layers are: {listed}'
