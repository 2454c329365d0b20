"""Stability: what every quantized operand lost, what it costs the weights, and what other formats would cost them."""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core import Monitor, hookimpl
from altgrad_stability.operands import Stability
from altgrad_stability.weights import QuantizationError, WhatIf


@hookimpl
def altgrad_monitors() -> Iterable[type[Monitor]]:
    """The monitors of this package."""
    yield Stability
    yield QuantizationError
    yield WhatIf
