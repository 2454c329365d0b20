"""Which parameters the optimizers of matrices take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def matrices(groups: list[dict[str, Any]]) -> dict[Tensor, Any]:
    """Every parameter of two dimensions or more, as keys: `split` sets all others apart."""
    return {p: None for group in groups for p in group["params"] if p.dim() >= 2}
