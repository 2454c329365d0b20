"""How well one gradient stands for another; imports nothing but torch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

MOST_DB = 200.0


class Moments(NamedTuple):
    """<g, g>, <q, q>, <g, q> and |g - q|^2 of two gradients."""

    g_g: float
    q_q: float
    g_q: float
    difference: float


def moments(pairs: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Moments]:
    """The moments of each pair of tensors of one shape, in float64; those that are not finite are left out."""
    if not pairs:
        return {}
    rows = torch.stack([_moments(g.double().flatten(), q.double().flatten()) for g, q in pairs.values()]).tolist()
    return {path: Moments(*row) for path, row in zip(pairs, rows, strict=True) if all(map(math.isfinite, row))}


def cosine(of: Moments) -> float | None:
    """<g, q> / (|g| |q|), from -1 to 1; None where one of them is zero."""
    if of.g_g == 0 or of.q_q == 0:
        return None
    return max(-1.0, min(1.0, of.g_q / math.sqrt(of.g_g) / math.sqrt(of.q_q)))


def snr(of: Moments) -> float | None:
    """10 log10(|g|^2 / |g - q|^2) in dB, at most 200; None where g is zero."""
    if of.g_g == 0:
        return None
    if of.difference == 0:
        return MOST_DB
    return min(MOST_DB, 10 * (math.log10(of.g_g) - math.log10(of.difference)))


def _moments(g: Tensor, q: Tensor) -> Tensor:
    difference = g - q
    return torch.stack([g @ g, q @ q, g @ q, difference @ difference])
