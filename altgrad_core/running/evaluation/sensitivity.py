"""What each operand alone costs in each format: one layer, one role, one quantizer at a time, on the loss itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from altgrad_core.contracts.actions import Role
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.assembly.written import literal
from altgrad_core.running.evaluation.subject import Subject
from altgrad_core.running.model.bits import FORWARD, operand_bits
from altgrad_core.running.model.recipe import Rule

Tell = Callable[[int, int], None]
"""Told how many evaluations are done, and how many there are."""


@dataclass(frozen=True)
class Option:
    """One way to quantize one operand.

    Attributes:
        bits: of one element, scales included.
        above: the loss with this alone quantized, less that of the model as it is.
    """

    quantizer: Quantizer
    bits: float
    above: float

    def __str__(self) -> str:
        """The format, and the granularity where it is not the whole tensor."""
        granularity = self.quantizer.scale_rule.granularity
        return self.quantizer.target.name + (f" by {granularity}" if granularity != "tensor" else "")


@dataclass(frozen=True)
class Sensitivity:
    """One operand and what it costs in every way.

    Attributes:
        size: elements of the weight of its layer, by which its bits count.
        options: the ways, in the order of the candidates.
    """

    layer: str
    role: Role
    size: int
    options: tuple[Option, ...]


def sensitivities(subject: Subject, candidates: Sequence[Quantizer], tell: Tell) -> list[Sensitivity]:
    """Every forward operand of the layers that `*` selects, on the calibration batches."""
    operands = list(_operands(subject))
    total, base = len(operands) * len(candidates), subject.plain(subject.calibration).loss
    result = []
    for place, (path, role, shape) in enumerate(operands):
        options = []
        for index, how in enumerate(candidates):
            tell(place * len(candidates) + index, total)
            rule = Rule(literal(path), **{role: how})
            loss = subject.measure("", [rule], batches=subject.calibration).loss
            options.append(Option(how, operand_bits(how, shape), loss - base))
        size = 1
        for length in shape:
            size *= length
        result.append(Sensitivity(path, role, size, tuple(options)))
    tell(total, total)
    return result


def _operands(subject: Subject) -> Iterator[tuple[str, Role, tuple[int, ...]]]:
    for path, layer in subject.layers().items():
        if layer.weight is None or not layer.spec.in_star:
            continue
        shape = tuple(layer.weight.shape)
        yield from ((path, role, shape) for role in FORWARD if role in layer.product.roles)
