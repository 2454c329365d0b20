"""What each operand alone costs in each format: one layer, one role, one quantizer at a time, on the loss itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from altgrad_core.contracts.actions import GRADIENTS, Role
from altgrad_core.contracts.layer import ATTENTION
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.assembly.written import literal
from altgrad_core.running.evaluation.subject import Subject
from altgrad_core.running.model.bits import FORWARD, Size, operand_bits, sizes_of
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
        size: how much its bits count.
        options: the ways, in the order of the candidates.
    """

    layer: str
    role: Role
    size: Size
    options: tuple[Option, ...]


def sensitivities(subject: Subject, candidates: Sequence[Quantizer], tell: Tell) -> list[Sensitivity]:
    """Every operand of the roles of the subject, in the layers that `*` selects, on the calibration batches.

    Gradients are rounded stochastically, so that small ones are not lost.

    Raises:
        ManifestError: no layer has one of the roles.
    """
    roles = FORWARD if subject.roles is None else subject.roles
    layers = subject.layers()
    sizes = sizes_of(layers, roles, subject.shapes if any(role in ATTENTION for role in roles) else {})
    for role in roles:
        if layers and not any(role == of for _, of in sizes):
            raise ManifestError(f"advise: no layer of the model has the role {role}")
    total, base = len(sizes) * len(candidates), subject.plain(subject.calibration).loss
    result = []
    for place, ((path, role), size) in enumerate(sizes.items()):
        options = []
        for index, how in enumerate(candidates):
            tell(place * len(candidates) + index, total)
            how = replace(how, rounding="stochastic") if role in GRADIENTS else how
            loss = subject.measure("", [Rule(literal(path), **{role: how})], batches=subject.calibration).loss
            options.append(Option(how, operand_bits(how, size.shape), loss - base))
        result.append(Sensitivity(path, role, size, tuple(options)))
    tell(total, total)
    return result
