"""Operands as torch.export sees them in evaluation: operations that a program runs in any process."""

from __future__ import annotations

import torch
from torch import Tensor

from altgrad_core.numerics import library_codes  # noqa: F401  registers the operations
from altgrad_core.numerics.library import name_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.layout import Layout


def exported(x: Tensor, how: Quantizer, layout: Layout, *, scale: Tensor | None, key: int | None) -> Tensor:
    """`x` rounded, of its shape and type; the gradient passes straight through."""
    if how.target.is_identity:
        return x
    is_as_it_is = layout.is_plain or (how.tiling.whole and how.hadamard is None)
    rows = x if is_as_it_is else layout.rows(x)
    values: Tensor = torch.ops.altgrad.fake_quantize(rows, name_of(how), scale, key)[0]
    return values if is_as_it_is else layout.back(values, x)


def exported_scale(amax: Tensor, how: Quantizer) -> Tensor:
    """As `ops.scale_of`."""
    scale: Tensor = torch.ops.altgrad.scale(amax, name_of(how))
    return scale
