"""From a quantizer to one run of a kernel: the arrays it needs, the kernel for its traits, its parts on threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels import arrays, deterministic, scales, stochastic, table
from altgrad_core.numerics.kernels.bits import EXACT_HALF, HALF
from altgrad_core.numerics.kernels.facts import arithmetic_facts, float_bits
from altgrad_core.numerics.kernels.threads import Numbers, in_chunks
from altgrad_core.numerics.memory import side_by_side
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scale import e4m3_quotient, one_level
from altgrad_core.numerics.scaling import E4M3

Array = np.ndarray[Any, Any]


def knows(format: Format, rounding: str) -> bool:
    """Whether there is a kernel for this format and mode."""
    by_arithmetic = arithmetic_facts(format) is not None and (
        rounding in deterministic.MODES or rounding == "stochastic"
    )
    return by_arithmetic or table.steps_of(format, rounding) is not None


def tensor_amax(x: Tensor) -> Tensor:
    """The largest finite magnitude of all, float32 of shape ()."""
    x = plain(x)
    return as_tensor(scales.amax_bits_at(address_of(x), x.numel(), is_half(x)))


def as_tensor(bits: int) -> Tensor:
    """The float32 tensor of shape () with these bits."""
    return torch.from_numpy(np.array(bits, np.int32).view(np.float32))


def plain(x: Tensor) -> Tensor:
    """The elements side by side, as float32 or bfloat16; kernels are told their address.

    An array of NumPy would take as long to make as a small tensor takes to round, and forbid FSDP to free a gathered weight.
    """
    return side_by_side(x.float() if x.dtype == torch.float16 else x)


def is_half(x: Tensor) -> bool:
    """Whether the elements are bfloat16, not float32."""
    return x.dtype == torch.bfloat16


def address_of(x: Tensor) -> int:
    """Where the elements of a tensor of the CPU begin.

    Raises:
        FormatError: nowhere: it has no numbers, as within `FakeTensorMode`.
    """
    address = x.data_ptr()
    if not address and x.numel():
        raise FormatError(
            f"a tensor of shape {tuple(x.shape)} has no numbers, as within FakeTensorMode; pass one that has"
        )
    return address


def whole_scale(x: Tensor, how: Quantizer) -> tuple[Tensor, float]:
    """The one scale of all elements of what `plain` returned, float32 of shape (), and as a number."""
    scale = torch.from_numpy(np.ones((), np.float32))
    if how.scale_rule.kind == "none":
        return scale, 1.0
    rule = how.kept.get("whole rule")
    if rule is None:
        rule = rule_for(tensor_amax(x), how, is_given=False)
        if how.scale_rule.scale_format != "e4m3":  # of which the amax is a part
            how.kept["whole rule"] = rule
    return scale, scales.whole_scale(address_of(x), x.numel(), is_half(x), rule, address_of(scale))


class Blocks(NamedTuple):
    """How a kernel scales where not all elements share one scale: the scales, what shares them, the rule that makes them."""

    scales: Array
    layout: Array
    rule: Array
    apiece: int


NONE = Blocks(np.zeros(0, np.float32), np.zeros(3, np.int64), np.zeros(7), 0)


def blocks_for(x: Tensor, how: Quantizer, scale: Tensor, block: int, *, is_given: bool) -> Blocks:
    """The blocks of a tensor at these scales, which are there already (`is_given`) or are made within the pass.

    Args:
        block: how many neighbours in a row share a scale.
    """
    array = scale.detach().reshape(-1).numpy()
    row = x.shape[-1] if x.shape[-1] % block else max(x.numel(), 1)  # rows of whole blocks are one long row
    layout = np.array([block, row, 0], np.int64)
    rule = rule_for(x, how, is_given)
    apiece = deterministic.BY_RUN if block >= scales.LONG else deterministic.BY_ELEMENT
    return Blocks(array, layout, rule, apiece)


def _gives_halves(format: Format, scale: float) -> bool:
    """Whether every value of the format at this scale is a bfloat16."""
    facts = arithmetic_facts(format)
    is_within = facts is not None and facts.shift >= 16 and facts.quantum * scale >= 2.0**-126
    return is_within and math.frexp(scale)[0] == 0.5


def rule_for(x: Tensor, how: Quantizer, is_given: bool) -> Array:
    """See `scales.scale_at`."""
    rule, largest = how.scale_rule, how.target.largest
    bits = float_bits(largest)
    kind, goes_up, limit = scales.TO_POWER, rule.rounding == "up", float(rule.exponent_limit)
    margin = float(rule.margin)
    if is_given:
        kind = scales.GIVEN
    elif rule.scale_format == "e4m3":
        kind, top = scales.TWO_LEVEL, tensor_amax(x)
        top = top if float(top) else torch.ones_like(top)
        limit = float(one_level(top, largest * E4M3.largest, rule))
        margin, largest = e4m3_quotient(
            limit, float(top), largest, rule, lambda is_so, one, other: one if is_so else other
        )
    elif rule.rounding == "exact":
        kind, margin = scales.EXACT, 2.0**rule.margin
    return np.array([kind, largest, bits >> 23, bits & 0x7FFFFF, margin, goes_up, limit], np.float64)


def run(
    x: Tensor,
    out: Tensor,
    how: Quantizer,
    scale: float,
    key: int | None,
    *,
    blocks: Blocks = NONE,
    codes: bool = False,
) -> Numbers:
    """Run the kernel for these traits over all elements; the amax bits and the counts.

    Args:
        x: what `plain` returned.
        out: contiguous; takes values of the type of `x`, or codes.
        scale: of all elements, unless there are blocks.
    """
    half = (EXACT_HALF if not blocks.apiece and _gives_halves(how.target, scale) else HALF) if is_half(x) else 0
    bytes_in, bytes_out = x.element_size(), out.element_size()
    kernel, arguments, draws = _chosen(
        how.target, how.rounding, how.overflow, half, blocks.apiece, bytes_out if codes else 0
    )
    x_at, out_at, size, (scales_, layout, rule, apiece) = address_of(x), address_of(out), x.numel(), blocks

    def chunk(start: int, stop: int) -> Numbers:
        stream = (key or 0, start) if draws else ()
        mine, own = scales_, layout
        if apiece:
            mine, own = scales_[start // layout[0] :] if start else scales_, layout.copy()
            own[1] = min(own[1], stop - start)  # one long row is as long as this part of it
        addresses = x_at + start * bytes_in, out_at + start * bytes_out
        result: Numbers = kernel(*addresses, stop - start, scale, mine, own, rule, *arguments, *stream)
        return result

    unit = int(layout[0]) if apiece else 1
    return in_chunks(chunk, size, unit if layout[1] in (0, size) else size)


@lru_cache(maxsize=256)
def _chosen(
    format: Format, rounding: str, overflow: str, half: int, apiece: int, codes: int
) -> tuple[Callable[..., Numbers], tuple[Any, ...], bool]:
    """The kernel for these traits, what it needs of the format, and whether it wants a stream of random numbers."""
    facts, by_chance = arithmetic_facts(format), rounding == "stochastic"
    keeps_zero = format.grid.negative_zero is not None
    if facts is None:
        payload = "codes" if codes else "rungs" if by_chance else "values"
        arguments = (arrays.rung_values(format), arrays.places(format, rounding, payload), arrays.steps_facts(format))
        return table.rounds(by_chance, keeps_zero, apiece > 0, codes), arguments, True
    if by_chance:
        is_fine = facts.shift < 23 - stochastic.MOST_COARSE or facts.quantum < stochastic.SMALLEST_COARSE
        kernel = stochastic.rounds(facts.is_bits, is_fine, keeps_zero, half, apiece > 0)
        return kernel, (arrays.rounding_facts(format, rounding, "saturate"), np.float32(facts.quantum)), True
    traits = (facts.is_bits, facts.is_powers, keeps_zero, overflow == "specials" and arrays.has_specials(format))
    kernel = deterministic.rounds(deterministic.MODES[rounding], *traits, half, apiece, codes)
    return kernel, (arrays.rounding_facts(format, rounding, overflow),), False


def each_scale(scale: Tensor, x: Tensor) -> Array:
    """The one scale, or that of every element."""
    if scale.numel() == 1:
        return np.array([scale.item()], np.float32)
    return scale.expand(x.shape).reshape(-1).detach().contiguous().numpy()
