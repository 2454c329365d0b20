"""How long output units have had no gradient; imports nothing but torch."""

from __future__ import annotations

import torch
from torch import Tensor


def silent_for(gradient: Tensor, before: Tensor | None, *, threshold: float) -> Tensor:
    """For how many steps in a row, this one included, each row has stayed below `threshold` in magnitude.

    Args:
        gradient: shape (out, ...); a row with NaN is not silent.
        before: what this returned at the step before, int32 of shape (out,); None at the first.
    """
    rows = gradient.flatten(1)
    is_silent = (rows.abs() < threshold).all(dim=1)
    if before is None:
        return is_silent.to(torch.int32)
    return torch.where(is_silent, before.to(gradient.device) + 1, 0).to(torch.int32)
