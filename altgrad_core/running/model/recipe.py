"""A recipe: ordered rules that give layers and roles their quantizers. Later rules win, role by role."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from altgrad_core.contracts.actions import MOMENTS, ROLES, Role
from altgrad_core.contracts.pattern import matches
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.layers import Layer

MOST_NAMES = 40


@dataclass(frozen=True)
class Rule:
    """Quantizers for the layers that match a pattern; `None` leaves a role as earlier rules have it.

    Attributes:
        layers: an `fnmatch` pattern of layer paths such as `blocks.*`; several separated by `|`.
        weight, activation, gradient: of the weight, of the input, of the gradient of the output.
        weight_for_input_gradient, activation_for_weight_gradient, gradient_for_weight_gradient: of linear layers, the weight in
            dx = g W, and both operands of dW = g^T x, each of the values before rounding; None in all rules: as they are
            rounded for their other use.
        query, key, probability, value: of attention: what its two products multiply.
        score_gradient, output_gradient: of the gradients of these two products.
        moment, second_moment: of what the optimizer keeps of the weight, `exp_avg` and `exp_avg_sq`; the second one is
            quantized as the first where nothing else is said.
    """

    layers: str
    weight: Quantizer | None = None
    activation: Quantizer | None = None
    gradient: Quantizer | None = None
    weight_for_input_gradient: Quantizer | None = None
    activation_for_weight_gradient: Quantizer | None = None
    gradient_for_weight_gradient: Quantizer | None = None
    query: Quantizer | None = None
    key: Quantizer | None = None
    probability: Quantizer | None = None
    value: Quantizer | None = None
    score_gradient: Quantizer | None = None
    output_gradient: Quantizer | None = None
    moment: Quantizer | None = None
    second_moment: Quantizer | None = None


def without(rules: Sequence[Rule], roles: Sequence[Role]) -> list[Rule]:
    """The rules without some roles; those that name nothing else are left out."""
    dropped: dict[str, Any] = dict.fromkeys(roles)
    kept = [replace(rule, **dropped) for rule in rules]
    return [rule for rule in kept if any(getattr(rule, role) is not None for role in ROLES)]


def assign(
    rules: Sequence[Rule], layers: Mapping[str, Layer], refused: Mapping[str, str]
) -> dict[str, dict[Role, Quantizer]]:
    """The quantizer of each role of each layer; layers that no rule touches are left out.

    Args:
        refused: why other modules cannot be quantized, by path.

    Raises:
        ManifestError: a rule matches no layer, or names a role that none of its layers has.
    """
    assigned: dict[str, dict[Role, Quantizer]] = {}
    for index, rule in enumerate(rules):
        if (problem := unselected(rule.layers, layers, refused)) is not None:
            raise ManifestError(f"recipe[{index}].layers: {problem}")
        chosen = {role: q for role in ROLES if (q := getattr(rule, role)) is not None}
        selected = [layer for layer in layers.values() if layer.is_selected(rule.layers)]
        for role in chosen:
            if not any(role in layer.roles for layer in selected):
                raise ManifestError(f"recipe[{index}].{role}: {_lacks(rule.layers, role, selected)}")
        for role in MOMENTS:
            if role in chosen and chosen[role].hadamard is not None:
                raise ManifestError(
                    f"recipe[{index}].{role}.hadamard: is of the operands of a product, and what an optimizer keeps is none; leave it out"
                )
        for layer in selected:
            own = {role: q for role, q in chosen.items() if role in layer.roles}
            if own:
                assigned.setdefault(layer.path, {}).update(own)
    for own in assigned.values():
        if "moment" in own:
            own.setdefault("second_moment", own["moment"])
    return {path: assigned[path] for path in layers if path in assigned}


def unselected(pattern: str, layers: Mapping[str, Layer], refused: Mapping[str, str]) -> str | None:
    """Why a pattern of a rule is wrong, if it selects no layer.

    Args:
        refused: why other modules cannot be quantized, by path.
    """
    if any(layer.is_selected(pattern) for layer in layers.values()):
        return None
    left_out = [layer for layer in layers.values() if any(matches(pattern, path) for path in layer.paths)]
    if left_out:
        listed = ", ".join(f"{layer.path} ({layer.spec.name})" for layer in left_out[:MOST_NAMES])
        return f'"{pattern}" leaves out {listed}: layers of this kind are quantized only where a rule names them'
    if (
        why := next((f"{path}: {why}" for path, why in refused.items() if path and matches(pattern, path)), None)
    ) is not None:
        return f'"{pattern}" matches only what cannot be quantized; {why}'
    meant = [layer for layer in layers.values() if layer.spec.in_last_star or not pattern.endswith("*")]
    return unmatched(pattern, [path for layer in meant for path in layer.paths])


def _lacks(pattern: str, role: Role, selected: Iterable[Layer]) -> str:
    by_kind = {layer.spec.name: layer for layer in reversed(list(selected))}
    have = "; ".join(f"{layer.path} ({kind}) has {', '.join(layer.roles)}" for kind, layer in reversed(by_kind.items()))
    return f'no layer that matches "{pattern}" has the role {role}; {have}'


def unmatched(pattern: str, paths: Sequence[str]) -> str | None:
    """Why a pattern is wrong, if no layer matches it."""
    if any(matches(pattern, path) for path in paths):
        return None
    if not paths:
        return f'no layer matches "{pattern}": the model has no layer that can be quantized'
    near = difflib.get_close_matches(pattern, paths, n=1)
    guess = f'; did you mean "{near[0]}"?' if near else ";"
    listed = ", ".join(paths[:MOST_NAMES]) + (f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else "")
    return f'no layer matches "{pattern}"{guess} the layers are: {listed}'
