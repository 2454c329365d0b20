"""From a quantizer to one run of a kernel: the arrays it needs, the kernel for its traits, its parts on threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.kernels import arrays, deterministic, scales, stochastic, table
from altgrad_core.numerics.kernels.bits import EXACT_HALF, HALF
from altgrad_core.numerics.kernels.facts import arithmetic_facts, float_bits
from altgrad_core.numerics.kernels.threads import in_chunks
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scale import e4m3_quotient, one_level
from altgrad_core.numerics.scaling import E4M3

Array = np.ndarray[Any, Any]
NO_RULE, NO_LAYOUT = np.zeros(7), np.zeros(3, np.int64)


def knows(format: Format, rounding: str) -> bool:
    """Whether there is a kernel for this format and mode."""
    by_arithmetic = arithmetic_facts(format) is not None and (
        rounding in deterministic.MODES or rounding == "stochastic"
    )
    return by_arithmetic or table.steps_of(format, rounding) is not None


def tensor_amax(x: Tensor) -> Tensor:
    """The largest finite magnitude of all, float32 of shape ()."""
    return as_tensor(scales.amax_bits(bits_of(x)))


def as_tensor(bits: int) -> Tensor:
    """The float32 tensor of shape () with these bits."""
    return torch.from_numpy(np.array(bits, np.int32).view(np.float32))


def whole_scale(bits: Array, how: Quantizer) -> Array:
    """The one scale of all the elements with these bits, float32 of shape ()."""
    result: Array = np.empty((), np.float32)
    if how.scale_rule.kind == "none":
        result.fill(1.0)
        return result
    rule = how.kept.get("whole rule")
    if rule is None:
        rule = rule_for(as_tensor(scales.amax_bits(bits)), how, is_given=False)
        if how.scale_rule.scale_format != "e4m3":  # of which the amax is a part
            how.kept["whole rule"] = rule
    scales.whole_scale(bits, rule, result.reshape(1))
    return result


class Scheme(NamedTuple):
    """How a kernel scales: the scales, what shares them, the rule that makes them, and what follows for a kernel's traits."""

    scales: Array
    layout: Array
    rule: Array
    apiece: int
    exact_half: bool


def whole_scheme(x: Tensor, how: Quantizer, scale: Array) -> Scheme:
    """The scheme for a tensor with one scale, of shape ()."""
    exact_half = x.dtype == torch.bfloat16 and _gives_halves(how.target, float(scale))
    return Scheme(scale.reshape(1), NO_LAYOUT, NO_RULE, 0, exact_half)


def scheme_for(x: Tensor, how: Quantizer, scale: Tensor, block: int, *, is_given: bool) -> Scheme:
    """The scheme for a tensor at these scales, which are there already (`is_given`) or are made within the pass.

    Args:
        block: how many neighbours in a row share a scale.
    """
    array = scale.detach().reshape(-1).numpy()
    row = x.shape[-1] if x.shape[-1] % block else max(x.numel(), 1)  # rows of whole blocks are one long row
    layout = np.array([block, row, 0], np.int64)
    rule = rule_for(x, how, is_given)
    apiece = deterministic.BY_RUN if block >= scales.LONG else deterministic.BY_ELEMENT
    return Scheme(array, layout, rule, apiece, False)


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


def run(x: Array, out: Array, how: Quantizer, scheme: Scheme, key: int | None, *, codes: bool = False) -> list[int]:
    """Run the kernel for these traits over all elements; the amax bits and the counts."""
    kernel, arguments, draws = _chosen(how.target, how.rounding, how.overflow, _half(x, scheme), scheme.apiece, codes)

    def chunk(start: int, stop: int, counts: Array) -> None:
        stream = (np.array([key or 0, start]),) if draws else ()
        mine, layout = scheme.scales, scheme.layout
        if scheme.apiece:
            mine, layout = mine[start // layout[0] :] if start else mine, layout.copy()
            layout[1] = min(layout[1], stop - start)  # one long row is as long as this part of it
        kernel(x[start:stop], out[start:stop], mine, layout, scheme.rule, *arguments, *stream, counts)

    unit = int(scheme.layout[0]) if scheme.apiece else 1
    return in_chunks(chunk, x.size, unit if scheme.layout[1] in (0, x.size) else x.size)


@lru_cache(maxsize=256)
def _chosen(
    format: Format, rounding: str, overflow: str, half: int, apiece: int, codes: bool
) -> tuple[Callable[..., None], tuple[Any, ...], bool]:
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


def _half(x: Array, scheme: Scheme) -> int:
    return 0 if x.dtype != np.uint16 else EXACT_HALF if scheme.exact_half else HALF


class _Memory:
    """The memory of a tensor on the CPU, for NumPy: `Tensor.__dlpack__` without its questions about other devices."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def __dlpack__(self, *, dl_device: Any = None, copy: bool | None = None, **_: Any) -> Any:
        return torch._C._to_dlpack_versioned(self._tensor, dl_device=dl_device, copy=copy)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0


def _is_usable() -> bool:
    """Whether this torch and this NumPy make a view of it that can be written to."""
    try:
        return bool(np.from_dlpack(_Memory(torch.zeros(1, device="cpu"))).flags.writeable)
    except (AttributeError, BufferError, TypeError):
        return False


_IS_USABLE = _is_usable()


def bits_of(x: Tensor, *, copy: bool = True) -> Array:
    """The bits of a tensor, flat: int32 of float32, uint16 of bfloat16.

    Args:
        copy: whether a tensor whose elements do not lie side by side may be copied.
    """
    x = x.contiguous() if copy else x
    if (kind := x.dtype) == torch.bfloat16:
        x = x.detach().view(torch.uint16)
    elif kind == torch.float16:
        x = x.float()
    # `.numpy()` would forbid FSDP to free the memory of a gathered weight
    flat = np.from_dlpack(_Memory(x) if _IS_USABLE else x.detach()).reshape(-1)
    return flat if kind == torch.bfloat16 else flat.view(np.int32)


def each_scale(scale: Tensor, x: Tensor) -> Array:
    """The one scale, or that of every element."""
    if scale.numel() == 1:
        return np.array([scale.item()], np.float32)
    return scale.expand(x.shape).reshape(-1).detach().contiguous().numpy()
