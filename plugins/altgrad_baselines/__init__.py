"""Baselines: what a new optimizer for low precision is to be compared with."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_baselines.multiplicative_specs import LNSMadam, Madam
from altgrad_baselines.plain_specs import LAMB, SGD, AdamW
from altgrad_baselines.relative_specs import AdamWRelative
from altgrad_baselines.rounded_specs import AdamWKahan, AdamWStochastic
from altgrad_core import OptimizerSpec, hookimpl

__all__ = [
    "LAMB",
    "SGD",
    "AdamW",
    "AdamWKahan",
    "AdamWRelative",
    "AdamWStochastic",
    "LNSMadam",
    "Madam",
    "altgrad_optimizers",
]


@hookimpl
def altgrad_optimizers() -> Iterable[type[OptimizerSpec]]:
    """The optimizers of this package."""
    yield from (AdamW, SGD, LAMB, AdamWRelative, AdamWStochastic, AdamWKahan, Madam, LNSMadam)
