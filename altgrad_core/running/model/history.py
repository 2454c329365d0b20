"""The end of a step, where the histories of delayed scaling take in what was seen in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from altgrad_core.numerics.ops import scale_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.operand import Operand


def fetched(numbers: Sequence[Tensor], operands: Iterable[Operand]) -> list[float]:
    """Numbers of a step as Python has them, and with them, in one transfer, the amaxes that `advance` asks for at its end."""
    waiting = {operand: operand.pending for operand in operands if operand.pending is not None}
    alike = [[number.double() for number in numbers], [*waiting.values()]]
    device = (alike[0] or alike[1])[0].device
    parts = [torch.stack([number.to(device) for number in part]).double() for part in alike if part]
    found: list[float] = torch.cat(parts).tolist()
    for (operand, pending), largest in zip(waiting.items(), found[len(numbers) :], strict=True):
        operand.fetched = pending, largest
    return found[: len(numbers)]


def advance(operands: Sequence[Operand]) -> None:
    """Let each history take in the largest amax of the step, and make the scales of the next one.

    All operands together: the device is waited for once, and not at all after `fetched`; it is asked a few times, not a few
    times for each.
    """
    if any(operand.fetched[0] is not operand.pending for operand in operands if operand.pending is not None):
        fetched((), operands)
    alike: dict[tuple[Quantizer, torch.Size, torch.device], list[tuple[Operand, Tensor]]] = {}
    for operand in operands:
        history = operand.advance(is_informed=operand.pending is not None and operand.fetched[1] > 0)
        if history is not None:
            alike.setdefault((operand.quantizer, history.shape, history.device), []).append((operand, history))
    for (how, _, _), members in alike.items():
        tops = torch.stack([history for _, history in members]).amax(dim=1)
        for (operand, _), scale in zip(members, scale_of(tops, how).unbind(), strict=True):
            operand.expect(scale)
