"""The end of a step, where the histories of delayed scaling take in what was seen in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from altgrad_core.numerics.ops import scale_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.operand import Operand


def advance(operands: Sequence[Operand]) -> None:
    """Let each history take in the largest amax of the step, and make the scales of the next one.

    All operands together: the device is waited for once, and asked a few times, not a few times for each.
    """
    pending = [operand.pending for operand in operands if operand.pending is not None]
    largest = iter(torch.stack([seen.to(pending[0].device) for seen in pending]).tolist() if pending else ())
    alike: dict[tuple[Quantizer, torch.Size, torch.device], list[tuple[Operand, Tensor]]] = {}
    for operand in operands:
        history = operand.advance(is_informed=operand.pending is not None and next(largest) > 0)
        if history is not None:
            alike.setdefault((operand.quantizer, history.shape, history.device), []).append((operand, history))
    for (how, _, _), members in alike.items():
        tops = torch.stack([history for _, history in members]).amax(dim=1)
        for (operand, _), scale in zip(members, scale_of(tops, how).unbind(), strict=True):
            operand.expect(scale)
