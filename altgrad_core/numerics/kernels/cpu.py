"""The compiled CPU path: from tensors, formats and quantizers to kernels of plain arrays and numbers, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from altgrad_core.numerics import reference
from altgrad_core.numerics.kernels import arrays, deterministic, positions, scales, steps, stochastic
from altgrad_core.numerics.kernels import codes as code_kernels
from altgrad_core.numerics.kernels.bits import EXACT_HALF, HALF
from altgrad_core.numerics.kernels.facts import arithmetic_facts, float_bits
from altgrad_core.numerics.kernels.threads import in_chunks
from altgrad_core.numerics.scaling import blocks_in, tensor_scale_for
from altgrad_core.numerics.tally import Quantized, Tally

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format
    from altgrad_core.numerics.quantizer import Quantizer

Array = np.ndarray[Any, Any]
NO_RULE, NO_LAYOUT = np.zeros(7), np.zeros(3, np.int64)


def knows(format: Format, rounding: str) -> bool:
    """Whether there is a kernel for this format and mode."""
    return arithmetic_facts(format) is not None or steps.steps_of(format, rounding) is not None


def amax(x: Tensor, block: int | None = None) -> Tensor:
    """As `reference.finite_amax`."""
    bits = _bits(x)
    if block is None:
        return torch.from_numpy(np.array(scales.amax_bits(bits), np.int32).view(np.float32))
    blocks = blocks_in(x.shape[-1], block)
    found = np.zeros(_lines(x) * blocks, np.int32)
    if bits.size:
        scales.block_amax_bits(bits, np.array([block, x.shape[-1], 0]), found)
    return torch.from_numpy(found).view(torch.float32).view(*x.shape[:-1], blocks)


def scale_of(amax: Tensor, how: Quantizer) -> Tensor:
    """As `scaling.scale_for`."""
    found = amax.detach().clone(memory_format=torch.contiguous_format)
    if how.scale_rule.kind == "none":
        return found.fill_(1.0)
    if found.numel():
        scales.to_scales(found.view(-1).numpy(), _rule(found, how, is_given=False))
    return found


def quantize(
    x: Tensor, how: Quantizer, *, scale: Tensor | None = None, key: int | None = None, out: Tensor | None = None
) -> Quantized:
    """As `reference.quantize`."""
    block = how.block_of(x)
    if scale is None and block is None:
        scale = (
            torch.ones((), dtype=torch.float32, device="cpu")
            if how.scale_rule.kind == "none"
            else scale_of(amax(x), how)
        )
    if _leaves_specials(how):
        return reference.quantize(x, how, scale=scale, key=key, out=out)
    given, scale = scale, scale if scale is not None else _room_for_scales(x, block)
    values = torch.empty(x.shape, dtype=x.dtype, device="cpu") if out is None else out
    direct = x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and arithmetic_facts(how.target) is not None)
    target = values if direct else torch.empty(x.shape, dtype=torch.float32, device="cpu")
    source = x if direct else x.float()
    scheme = _scheme(source, how, scale, block, is_given=given is not None)
    counts = _run(_bits(source), _bits(target, copy=False), how, scheme, key)
    if how.overflow == "specials" and how.rounding == "stochastic" and counts[4]:
        return reference.quantize(x, how, scale=scale, key=key, out=out)
    if not direct:
        values.copy_(target)
    found = torch.from_numpy(np.array(counts[0], np.int32).view(np.float32))
    return Quantized(values, scale, Tally(x.numel(), found, *counts[1:]))


def encode(x: Tensor, how: Quantizer, *, scale: Tensor, key: int | None, out: Tensor) -> int:
    """As `reference.encode`."""
    if _leaves_specials(how) or (arithmetic_facts(how.target) is not None and not arrays.has_plain_codes(how.target)):
        return reference.encode(x, how, scale=scale, key=key, out=out)
    source = x.float()
    if how.rounding == "stochastic":
        if how.overflow == "specials":
            return reference.encode(x, how, scale=scale, key=key, out=out)
        source = quantize(source / scale, how, scale=torch.ones((), dtype=torch.float32, device="cpu"), key=key).values
        how, scale = type(how)(how.target, "nearest-even", "none"), torch.ones((), dtype=torch.float32, device="cpu")
    scheme = _scheme(source, how, scale, None, is_given=True)
    return _run(_bits(source), out.view(-1).numpy(), how, scheme, key, codes=True)[3]


def decode(codes: Tensor, format: Format, *, scale: float, out: Tensor) -> None:
    """As `reference.decode`."""
    table = arrays.decode_table(format) * np.float32(scale)
    code_kernels.decode(codes.contiguous().view(-1).numpy(), table, out.view(-1).numpy())


def nearest_rung(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The number of the rung nearest to x / scale, int32, of the shape of `x`."""
    out = torch.empty(x.shape, dtype=torch.int32, device="cpu")
    positions.nearest_rung(_bits(x.float()), out.view(-1).numpy(), _each(scale, x), arrays.walk_facts(format)[0])
    return out


def position(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The rung position of x / scale, float64, of the shape of `x`."""
    out = torch.empty(x.shape, dtype=torch.float64, device="cpu")
    positions.position(_bits(x.float()), out.view(-1).numpy(), _each(scale, x), *arrays.walk_facts(format))
    return out


def value_at(u: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """Scale times the value at rung position `u` (float64), float32, of the shape of `u`."""
    out = torch.empty(u.shape, dtype=torch.float32, device="cpu")
    flat = u.detach().contiguous().view(-1).numpy()
    positions.value_at(flat, out.view(-1).numpy(), _each(scale, u), *arrays.walk_facts(format))
    return out


def spacing(x: Tensor, format: Format, *, scale: Tensor) -> Tensor:
    """The width of the cell that holds each element, float32, of the shape of `x`."""
    out = torch.empty(x.shape, dtype=torch.float32, device="cpu")
    positions.spacing(_bits(x.float()), out.view(-1).numpy(), _each(scale, x), *arrays.walk_facts(format))
    return out


class Scheme(NamedTuple):
    """How a kernel scales: the scales, what shares them, the rule that makes them, and what follows for a kernel's traits."""

    scales: Array
    layout: Array
    rule: Array
    apiece: int
    exact_half: bool


def _scheme(x: Tensor, how: Quantizer, scale: Tensor, block: int | None, *, is_given: bool) -> Scheme:
    array = scale.detach().reshape(-1).numpy()
    if block is None:
        number = float(array[0])
        significand = math.frexp(number)[0]
        facts = arithmetic_facts(how.target)
        exact_half = facts is not None and facts.shift >= 16 and facts.quantum * number >= 2.0**-126
        return Scheme(array, NO_LAYOUT, NO_RULE, 0, exact_half and significand == 0.5)
    row = x.shape[-1] if x.shape[-1] % block else max(x.numel(), 1)  # rows of whole blocks are one long row
    layout = np.array([block, row, 0], np.int64)
    rule = _rule(x, how, is_given)
    apiece = deterministic.BY_RUN if block >= scales.LONG else deterministic.BY_ELEMENT
    return Scheme(array, layout, rule, apiece, False)


def _rule(x: Tensor, how: Quantizer, is_given: bool) -> Array:
    """See `scales.scale_at`."""
    rule, largest = how.scale_rule, how.target.largest
    bits = float_bits(largest)
    kind, tensor_scale = scales.EXACT if rule.rounding == "exact" else scales.TO_POWER, 1.0
    if is_given:
        kind = scales.GIVEN
    elif rule.scale_format == "e4m3":
        kind, tensor_scale = scales.TWO_LEVEL, float(tensor_scale_for(amax(x), largest, rule))
    margin = rule.margin if kind == scales.TO_POWER else 2.0**rule.margin
    goes_up = rule.rounding == "up"
    return np.array([kind, largest, bits >> 23, bits & 0x7FFFFF, margin, goes_up, tensor_scale], np.float64)


def _run(x: Array, out: Array, how: Quantizer, scheme: Scheme, key: int | None, *, codes: bool = False) -> list[int]:
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
    """The kernel for these traits, what it is told of the format, and whether it wants a stream of random numbers."""
    facts, by_chance = arithmetic_facts(format), rounding == "stochastic"
    keeps_zero = format.grid.negative_zero is not None
    if facts is None:
        payload = "codes" if codes else "rungs" if by_chance else "values"
        arguments = (arrays.rung_values(format), arrays.places(format, rounding, payload), arrays.steps_facts(format))
        return steps.rounds(by_chance, keeps_zero, apiece > 0, codes), arguments, True
    if by_chance:
        is_fine = facts.shift < 23 - stochastic.MOST_COARSE or facts.quantum < stochastic.SMALLEST_COARSE
        kernel = stochastic.rounds(facts.is_bits, is_fine, keeps_zero, half, apiece > 0)
        return kernel, (arrays.rounding_facts(format, rounding, "saturate"), np.float32(facts.quantum)), True
    traits = (facts.is_bits, facts.is_powers, keeps_zero, overflow == "specials" and arrays.has_specials(format))
    kernel = deterministic.rounds(
        deterministic.MODES.get(rounding, deterministic.DIRECTED), *traits, half, apiece, codes
    )
    return kernel, (arrays.rounding_facts(format, rounding, overflow),), False


def _half(x: Array, scheme: Scheme) -> int:
    return 0 if x.dtype != np.uint16 else EXACT_HALF if scheme.exact_half else HALF


def _bits(x: Tensor, *, copy: bool = True) -> Array:
    """The bits of a tensor, flat: int32 of float32, uint16 of bfloat16."""
    flat = x.detach().contiguous().view(-1) if copy else x.view(-1)
    if flat.dtype == torch.float16:
        flat = flat.float()
    return flat.view(torch.uint16 if flat.dtype == torch.bfloat16 else torch.int32).numpy()


def _lines(x: Tensor) -> int:
    return math.prod(x.shape[:-1])


def _room_for_scales(x: Tensor, block: int | None) -> Tensor:
    assert block is not None
    return torch.ones(*x.shape[:-1], blocks_in(x.shape[-1], block), dtype=torch.float32, device="cpu")


def _each(scale: Tensor, x: Tensor) -> Array:
    """The one scale, or that of every element."""
    if scale.numel() == 1:
        return np.array([scale.item()], np.float32)
    return scale.expand(x.shape).reshape(-1).detach().contiguous().numpy()


def _leaves_specials(how: Quantizer) -> bool:
    """Whether overflow becomes a special value in a format whose kernel only saturates."""
    format = how.target
    if how.overflow == "saturate" or not arrays.has_specials(format):
        return False
    facts = arithmetic_facts(format)
    signs = {str(reference.special_beyond(format, sign)).removeprefix("-") for sign in (1, -1)}
    return facts is None or len(signs) > 1
