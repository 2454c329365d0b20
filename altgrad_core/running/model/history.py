"""The end of a step, where the histories of delayed scaling take in what was seen in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from altgrad_core.numerics.ops import scale_of
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.model.amax_history import on_device
from altgrad_core.running.model.operand import Operand


def fetched(numbers: Sequence[Tensor], operands: Iterable[Operand]) -> list[float]:
    """Numbers of a step as Python has them, and with them, in one transfer, the amaxes that `advance` asks for at its end."""
    waiting = {operand: operand.history.pending for operand in operands if operand.history.pending is not None}
    alike = [[number.double() for number in numbers], [*waiting.values()]]
    device = (alike[0] or alike[1])[0].device
    parts = [torch.stack([number.to(device) for number in part]).double() for part in alike if part]
    found: list[float] = torch.cat(parts).tolist()
    for (operand, pending), largest in zip(waiting.items(), found[len(numbers) :], strict=True):
        operand.history.fetched = pending, largest
    return found[: len(numbers)]


def advance(operands: Sequence[Operand]) -> None:
    """Let each history take in the largest amax of the step, and make the scales of the next one.

    All operands together: the device is waited for once, and not at all after `fetched`; the scales of all that have one
    quantizer are made by one call.
    """
    if any(operand.history.fetched[0] is not operand.history.pending for operand in operands):
        fetched((), operands)
    alike: dict[tuple[Quantizer, torch.device], list[tuple[Operand, float]]] = {}
    for operand in operands:
        if (most := operand.advance()) is not None:
            alike.setdefault((operand.quantizer, operand.scale.device), []).append((operand, most))
    for (how, device), members in alike.items():
        amaxes = on_device([most for _, most in members], device)
        for (operand, _), scale in zip(members, scale_of(amaxes, how).unbind(), strict=True):
            operand.history.expect(how, scale)
