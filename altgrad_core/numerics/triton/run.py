"""From a quantizer and a tensor to launches of kernels."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from altgrad_core.numerics.format import Format
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import GROUP, Key
from altgrad_core.numerics.scaling import EXPONENT_LIMIT
from altgrad_core.numerics.staircase import steps_up
from altgrad_core.numerics.tally import Quantized
from altgrad_core.numerics.tiling import Tiling
from altgrad_core.numerics.triton import flat, scales, tiles
from altgrad_core.numerics.triton.facts import Rounding, ScaleRule, rounding_of, rule_of
from altgrad_core.numerics.triton.launch import MOST, Counts, as_int32, cells_of, launch, on_device
from altgrad_core.numerics.triton.layout import Extent

BLOCK = 4096  # elements of one program of a flat pass
NEVER_EDGE = 0x7FFFFFFF
MINIFLOAT_OF_BFLOAT16 = 16  # cut-off bits from which on a rung times a power of two is a bfloat16


def quantize(x: Tensor, how: Quantizer, *, scale: Tensor | None, key: Key | None, out: Tensor | None) -> Quantized:
    """See `ops.quantize`; `x` is not empty."""
    values = torch.empty(x.shape, dtype=x.dtype, device=x.device) if out is None else out
    counts = Counts.on(x)
    is_one = how.tiling.shape(tuple(x.shape)) == () if scale is None else scale.ndim == 0
    scale = (_whole if is_one else _tiled)(x, values, counts, how, scale, key)
    return Quantized(values, scale, counts.tally(x.numel()))


def whole_amax(x: Tensor, counts: Counts | None = None) -> Counts:
    """The counts of a pass that looks for the largest finite magnitude only."""
    counts = Counts.on(x) if counts is None else counts
    size = x.numel()
    launch(
        scales.amax_pass, -(-size // BLOCK), x, cells_of(x), counts.cells, size, BIG=size > MOST, BLOCK=BLOCK
    )  # fmt: skip
    return counts


def scales_of(amax: Tensor, rule: ScaleRule) -> Tensor:
    """The scales of tiles, each by itself."""
    flat_amax, out = amax.detach().contiguous(), torch.empty(amax.shape, dtype=torch.float32, device=amax.device)
    programs = -(-amax.numel() // BLOCK)
    launch(scales.scale_pass, programs, amax, flat_amax, out, amax.numel(), R=rule, BLOCK=BLOCK)
    return out


def tile_amax(x: Tensor, tiling: Tiling) -> Tensor:
    """The largest finite magnitude of each tile."""
    result = torch.empty(tiling.shape(tuple(x.shape)), dtype=torch.float32, device=x.device)
    _tiles_pass(x, x, result, Counts(result), _Plan(_NOTHING, ScaleRule("power"), result, result), tiling, gives="amax")
    return result


class _Plan(NamedTuple):
    """A rounding and a rule, and the table of the rounding."""

    rounding: Rounding
    rule: ScaleRule
    values: Tensor
    edges: Tensor

    @classmethod
    def of(cls, how: Quantizer, x: Tensor, *, is_given: bool) -> _Plan:
        rounding = rounding_of(how.target, how.rounding, how.overflow)
        table = table_of(how.target, rounding.mode, x.device) if rounding.is_table else (nothing(x.device),) * 2
        return cls(rounding, rule_of(how, is_given=is_given), *table)

    def is_exact(self, x: Tensor, *, is_power: bool) -> bool:
        """Whether every result is a bfloat16, but for subnormal ones."""
        half = x.dtype == torch.bfloat16 and not self.rounding.is_table
        return half and is_power and self.rounding.shift >= MINIFLOAT_OF_BFLOAT16


_NOTHING = Rounding(*(0,) * 3, 0.0, 0, *(False,) * 4, "", *(0,) * 10)  # fmt: skip


def _whole(x: Tensor, values: Tensor, counts: Counts, how: Quantizer, given: Tensor | None, key: Key | None) -> Tensor:
    """Round at one scale, which is returned."""
    plan = _Plan.of(how, x, is_given=given is not None)
    needs_amax = plan.rule.kind not in ("given", "none") or (given is None and plan.rule.marks_lost)
    if needs_amax:
        whole_amax(x, counts)
    is_power = _is_power_of_two(given, how)
    scale = torch.empty((), dtype=torch.float32, device=x.device) if given is None else on_device(given, x)
    size = x.numel()
    tensors = (cells_of(x), cells_of(values), scale, counts.cells, plan.values, plan.edges, size)
    constants: dict[str, Any] = {"R": plan.rounding, "S": plan.rule, "POWER": is_power, "BIG": size > MOST}
    if plan.rounding.random_bits:
        _draw(x, tensors, key, constants, None)
    else:
        exact = plan.is_exact(x, is_power=is_power)
        launch(flat.quantize_pass, -(-size // BLOCK), x, *tensors, EXACT=exact, BLOCK=BLOCK, **constants)
    return scale if given is None else given


def _tiled(x: Tensor, values: Tensor, counts: Counts, how: Quantizer, given: Tensor | None, key: Key | None) -> Tensor:
    """Round at a scale for each tile, which are returned."""
    plan, tiling = _Plan.of(how, x, is_given=given is not None), how.tiling
    if plan.rule.kind == "two-level":
        whole_amax(x, counts)
    shape = tiling.shape(tuple(x.shape))
    scale = torch.empty(shape, dtype=torch.float32, device=x.device) if given is None else on_device(given, x)
    if not plan.rounding.random_bits:
        is_power = _is_power_of_two(given, how)
        _tiles_pass(x, values, scale, counts, plan, tiling, gives="values", is_power=is_power)
        return scale if given is None else given
    if given is None:
        _tiles_pass(x, x, scale, counts, plan, tiling, gives="scales")
    size = x.numel()
    tensors = (cells_of(x), cells_of(values), scale.contiguous(), counts.cells, plan.values, plan.edges, size)
    _draw(
        x,
        tensors,
        key,
        {"R": plan.rounding, "S": ScaleRule("given"), "POWER": False, "BIG": size > MOST},
        Extent.of(tuple(x.shape), tiling),
    )
    return scale if given is None else given


def _draw(
    x: Tensor, tensors: tuple[object, ...], key: Key | None, constants: dict[str, object], extent: Extent | None
) -> None:
    """The stochastic pass."""
    assert key is not None, "checked before"
    shape = (1, 1, 1, 1) if extent is None else (extent.columns, extent.rows, extent.across, extent.down)
    tile = {"TILED": extent is not None, "TILE_ROWS": 1, "TILE_COLUMNS": 1}
    if extent is not None:
        tile |= {"TILE_ROWS": extent.tile_rows, "TILE_COLUMNS": extent.tile_columns}
    is_loaded = isinstance(key, Tensor)
    halves = (key, 0) if isinstance(key, Tensor) else (as_int32(key), as_int32(key >> 32))
    tile["LOADS_KEY"] = is_loaded
    programs = -(-x.numel() // GROUP)
    launch(flat.stochastic_pass, programs, x, *tensors, *halves, *shape, warps=2, **constants, **tile)


def _tiles_pass(
    x: Tensor,
    values: Tensor,
    scale: Tensor,
    counts: Counts,
    plan: _Plan,
    tiling: Tiling,
    *,
    gives: str,
    is_power: bool = False,
) -> None:
    """Start `tiles.tiles_pass`."""
    extent = Extent.of(tuple(x.shape), tiling)
    layout = extent.layout(is_big=x.numel() > MOST)
    tensors = (cells_of(x), cells_of(values), scale.contiguous(), counts.cells, plan.values, plan.edges)
    shape = (extent.columns, extent.rows, extent.across, extent.down, extent.tiles)
    exact = plan.is_exact(x, is_power=is_power)
    constants: dict[str, Any] = {
        "R": plan.rounding,
        "S": plan.rule,
        "L": layout,
        "GIVES": gives,
        "POWER": is_power,
        "EXACT": exact,
    }
    launch(tiles.tiles_pass, -(-extent.tiles // layout.tiles), x, *tensors, *shape, **constants)


def _is_power_of_two(scale: Tensor | None, how: Quantizer) -> bool:
    """Whether all scales are known to be powers of two with a normal inverse, without waiting for a device."""
    rule = how.scale_rule
    if scale is None:
        return how.nonfinite != "block" and (
            rule.kind == "none" or (rule.rounding != "exact" and rule.scale_format == "fp32")
        )
    if scale.device.type != "cpu" or scale.ndim:
        return False
    significand, exponent = math.frexp(float(scale))
    return significand == 0.5 and abs(exponent - 1) <= EXPONENT_LIMIT


@lru_cache(maxsize=64)
def nothing(device: torch.device) -> Tensor:
    """What a kernel is given where it has no table to look at."""
    return torch.zeros(1, dtype=torch.float32, device=device)


@lru_cache(maxsize=256)
def table_of(format: Format, mode: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """The values of the rungs, and the places of the steps, filled up to 2 ** depth - 1."""
    steps = steps_up(format.grid, mode)
    length = (1 << len(steps).bit_length()) - 1
    edges = torch.tensor([*steps, *[NEVER_EDGE] * (length - len(steps))], dtype=torch.int32, device=device)
    return torch.tensor(format.grid.values, dtype=torch.float32, device=device), edges
