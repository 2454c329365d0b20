"""What others offer for the rows of `quantize.py`: each peer as its users would call it, into outputs made beforehand.

A peer is a function that imports a package and returns, by row, what prepares a run. A run returns values, or codes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
from contender import Contender, CurvedTable, Place, Prepare, Run
from torch import Tensor

import altgrad_core as ag


def torch_casts() -> dict[str, Prepare]:
    """torch: the native float8 types, and what one writes around them in eager mode."""

    def cast(type: torch.dtype, place: Place) -> Run:
        codes = torch.empty(place.x.shape, dtype=type)
        return lambda: place.out.copy_(codes.copy_(place.x))

    def scaled(scale_of: Callable[[Tensor], Tensor], place: Place) -> Run:
        codes = torch.empty(place.x.shape, dtype=torch.float8_e4m3fn)

        def run() -> Tensor:
            scale = scale_of(place.x)
            codes.copy_(torch.div(place.x, scale, out=place.out))
            return place.out.copy_(codes).mul_(scale)

        return run

    def tensor_scale(x: Tensor) -> Tensor:
        low, high = torch.aminmax(x)
        return torch.maximum(-low, high) / 448

    def row_scale(x: Tensor) -> Tensor:
        low, high = torch.aminmax(x, dim=-1, keepdim=True)
        return torch.maximum(-low, high) / 448

    def bucketize(place: Place) -> Run:
        values = torch.tensor(CurvedTable().grid.values)
        edges, index = (values[1:] + values[:-1]) / 2, torch.empty(place.x.shape, dtype=torch.int32)
        out = place.out.view(-1)

        def run() -> Tensor:
            torch.bucketize(place.x, edges, out_int32=True, out=index)
            torch.index_select(values, 0, index.view(-1), out=out)
            return place.out

        return run

    def encode(place: Place) -> Run:
        codes = place.out.view(torch.float8_e4m3fn)
        return lambda: codes.copy_(place.x).view(torch.uint8)

    def decode(place: Place) -> Run:
        codes = place.x.view(torch.float8_e4m3fn)
        return lambda: place.out.copy_(codes)

    e4m3 = partial(cast, torch.float8_e4m3fn)
    return {
        "e5m2": partial(cast, torch.float8_e5m2),
        "e4m3": e4m3,
        "e4m3, bfloat16 in and out": e4m3,
        "e4m3, given scale 0.3": partial(scaled, lambda x: torch.tensor(0.3)),
        "e4m3, tensor amax, exact": partial(scaled, tensor_scale),
        "e4m3, row amax, exact": partial(scaled, row_scale),
        "a table of 256 values": bucketize,
        "encode e4m3": encode,
        "decode e4m3": decode,
    }


def ml_dtypes_casts() -> dict[str, Prepare]:
    """ml_dtypes: NumPy types; `np.copyto` into arrays made beforehand."""
    np, types = import_module("numpy"), import_module("ml_dtypes")
    move = partial(np.copyto, casting="unsafe")

    def array(x: Tensor) -> Any:
        return x.view(torch.int16).numpy().view(types.bfloat16) if x.dtype == torch.bfloat16 else x.numpy()

    def cast(type: Any, place: Place) -> Run:
        x, out, codes = array(place.x), array(place.out), np.empty(place.x.shape, dtype=type)

        def run() -> Tensor:
            move(codes, x)
            move(out, codes)
            return place.out

        return run

    def convert(place: Place) -> Run:
        source, target = (
            t.numpy().view(types.float8_e4m3fn) if t.dtype == torch.uint8 else t.numpy() for t in (place.x, place.out)
        )

        def run() -> Tensor:
            move(target, source)
            return place.out

        return run

    e4m3 = partial(cast, types.float8_e4m3fn)
    both = {"encode e4m3": convert, "decode e4m3": convert}
    return {"e5m2": partial(cast, types.float8_e5m2), "e4m3": e4m3, "e4m3, bfloat16 in and out": e4m3, **both}


def gfloat_rounding() -> dict[str, Prepare]:
    """gfloat: `round_ndarray`, `encode_ndarray` and `decode_ndarray` over NumPy, any FormatInfo."""
    np, gfloat, formats = (import_module(name) for name in ("numpy", "gfloat", "gfloat.formats"))
    mode = gfloat.RoundMode
    e4m3 = formats.format_info_ocp_e4m3

    def split(name: str) -> Any:
        format = ag.load_format(name)
        assert isinstance(format, ag.Minifloat)
        facts = {"bias": format.bias, "domain": gfloat.Domain.Finite, "num_high_nans": 0, "is_signed": True}
        flags = {"has_nz": True, "has_subnormals": True, "is_twos_complement": False}
        return gfloat.FormatInfo(name, 8, format.mantissa_bits + 1, **facts, **flags)

    def rounds(info: Any, how: Any, place: Place) -> Run:
        x = place.x.numpy()
        return lambda: gfloat.round_ndarray(info, x, how, sat=True)

    def stochastic(place: Place) -> Run:
        x, random = place.x.numpy(), np.random.default_rng(0)

        def run() -> Any:
            bits = random.integers(0, 256, x.shape, dtype=np.int16)
            return gfloat.round_ndarray(e4m3, x, mode.Stochastic, sat=True, srbits=bits, srnumbits=8)

        return run

    def blocks(place: Place) -> Run:
        info, rows = formats.format_info_mxfp8_e4m3, place.x.double().numpy().reshape(-1, 32)
        block = partial(gfloat.quantize_block, info, compute_scale=gfloat.compute_scale_amax)
        return lambda: np.stack([block(row) for row in rows]).reshape(place.x.shape)

    def encode(place: Place) -> Run:
        x = place.x.numpy()
        return lambda: gfloat.encode_ndarray(e4m3, gfloat.round_ndarray(e4m3, x, sat=True))

    nearest = {name: partial(rounds, split(name), mode.TiesToEven) for name in ("e3m4", "e7m0", "e0m7")}
    return {
        "e5m2": partial(rounds, formats.format_info_ocp_e5m2, mode.TiesToEven),
        "e4m3": partial(rounds, e4m3, mode.TiesToEven),
        **nearest,
        "e4m3, nearest-away": partial(rounds, e4m3, mode.TiesToAway),
        "e4m3, toward-zero": partial(rounds, e4m3, mode.TowardZero),
        "e4m3, toward-positive": partial(rounds, e4m3, mode.TowardPositive),
        "e4m3, toward-negative": partial(rounds, e4m3, mode.TowardNegative),
        "e4m3, stochastic": stochastic,
        "e4m3, block:32, E8M0 (MX)": blocks,
        "encode e4m3": encode,
        "decode e4m3": lambda place: lambda: gfloat.decode_ndarray(e4m3, place.x.numpy()),
    }


def qtorch_quantizers() -> dict[str, Prepare]:
    """qtorch: its C++ extension, built at the first import without optimization, as it ships."""
    quant = import_module("qtorch.quant")

    def floats(exponent: int, mantissa: int, rounding: str, place: Place) -> Run:
        return lambda: quant.float_quantize(place.x, exponent, mantissa, rounding)

    def fixed(place: Place) -> Run:
        return lambda: quant.fixed_point_quantize(place.x, 8, 7, clamp=True, symmetric=True, rounding="nearest")

    return {
        "e5m2": partial(floats, 5, 2, "nearest"),
        "e4m3": partial(floats, 4, 3, "nearest"),
        "e7m0": partial(floats, 7, 0, "nearest"),
        "e0m7": fixed,
        "e4m3, stochastic": partial(floats, 4, 3, "stochastic"),
    }


def qtorch_plus_tables() -> dict[str, Prepare]:
    """qtorch-plus: qtorch with posits, and a search through any table of magnitudes."""
    quant = import_module("qtorch_plus.quant")

    def table(place: Place) -> Run:
        magnitudes = torch.tensor([abs(v) for v in CurvedTable().grid.values[128::-1]])
        return lambda: quant.configurable_table_quantize(place.x, magnitudes)

    def floats(exponent: int, mantissa: int, place: Place) -> Run:
        return lambda: quant.float_quantize(place.x, exponent, mantissa, "nearest")

    return {"e5m2": partial(floats, 5, 2), "e4m3": partial(floats, 4, 3), "a table of 256 values": table}


def pychop_choppers() -> dict[str, Prepare]:
    """pychop: `Chop` on torch tensors, its fixed point, and its MX blocks, which go through NumPy."""
    pychop, fixed = import_module("pychop"), import_module("pychop.tch.fixed_point")
    blocks = import_module("pychop.mx_formats")

    def chop(exponent: int, mantissa: int, mode: int, place: Place) -> Run:
        chopper = pychop.Chop(exponent, mantissa, rmode=mode)
        return lambda: chopper(place.x)

    def fixed_point(place: Place) -> Run:
        rounder = fixed.FPRound_(ibits=1, fbits=7)
        return lambda: rounder.quantize(place.x)

    modes = {"toward-positive": 2, "toward-negative": 3, "toward-zero": 4, "stochastic": 5, "nearest-away": 8}
    return {
        "e5m2": partial(chop, 5, 2, 1),
        "e4m3": partial(chop, 4, 3, 1),
        "e7m0": partial(chop, 7, 0, 1),
        "e0m7": fixed_point,
        **{f"e4m3, {name}": partial(chop, 4, 3, mode) for name, mode in modes.items()},
        "e4m3, block:32, E8M0 (MX)": lambda place: lambda: blocks.mx_quantize(place.x, "mxfp8_e4m3", 32),
    }


def torchao_tensors() -> dict[str, Prepare]:
    """torchao: quantize to its tensor types and back, in eager mode."""
    ao, granularity = import_module("torchao.quantization"), import_module("torchao.quantization.granularity")
    utils = import_module("torchao.float8.float8_utils")
    mx = import_module("torchao.prototype.mx_formats.mx_tensor").MXTensor
    nv = import_module("torchao.prototype.mx_formats.nvfp4_tensor")
    e4m3 = torch.float8_e4m3fn

    def exact(what: Any, place: Place) -> Run:
        return lambda: ao.Float8Tensor.from_hp(place.x, e4m3, what).dequantize()

    def powers(options: dict[str, Any], place: Place) -> Run:
        def run() -> Tensor:
            scale = utils.tensor_to_scale(place.x, e4m3, round_scales_to_power_of_2=True, **options)
            return utils.to_fp8_saturated(place.x * scale, e4m3).float() / scale

        return run

    def nvfp4(place: Place) -> Run:
        def run() -> Tensor:
            scale = nv.per_tensor_amax_to_scale(place.x.abs().max())
            return nv.NVFP4Tensor.to_nvfp4(place.x, per_tensor_scale=scale).dequantize()

        return run

    rows = {
        "scaling_granularity": import_module("torchao.float8.config").ScalingGranularity.AXISWISE,
        "axiswise_dim": -1,
    }
    return {
        "e4m3, tensor amax": partial(powers, {}),
        "e4m3, tensor amax, exact": partial(exact, granularity.PerTensor()),
        "e4m3, row amax": partial(powers, rows),
        "e4m3, row amax, exact": partial(exact, granularity.PerRow()),
        "e4m3, block:16, exact": partial(exact, granularity.PerBlock([1, 16])),
        "e4m3, block:32, E8M0 (MX)": lambda place: lambda: mx.to_mx(place.x, e4m3, 32).dequantize(torch.float32),
        "e2m1, block:16, E4M3 (NVFP4)": nvfp4,
    }


PEERS: dict[str, Callable[[], dict[str, Prepare]]] = {
    "torch": torch_casts,
    "ml_dtypes": ml_dtypes_casts,
    "gfloat": gfloat_rounding,
    "qtorch": qtorch_quantizers,
    "qtorch-plus": qtorch_plus_tables,
    "pychop": pychop_choppers,
    "torchao": torchao_tensors,
}

CANNOT = {
    "torch": "formats but its own, so no e3m4, e7m0 or e0m7 as here; modes but nearest-even; choose a scale; count",
    "ml_dtypes": "other biases (its e3m4 has bias 3), e7m0, e0m7; modes but nearest-even; scale; count",
    "gfloat": "a table that is not a floating-point format; scale tensors or rows; return float32 or bfloat16; count",
    "qtorch": "choose a bias or the specials (its e4m3 ends at 480); directed modes; ties to even; encode; scale; count",
    "qtorch-plus": "as qtorch (its e4m3 ends at 240, its subnormals are others); tables are searched end to end",
    "pychop": "choose a bias or the specials (its e4m3 ends at 240, 256 to 448 become 0); scale tensors or rows; count",
    "torchao": "formats beyond torch's float8 and OCP's of 6 and 4 bits; modes but nearest-even; tables; count overflow",
}


def contenders() -> Iterator[Contender]:
    """Every row of every peer that is installed; what is not is said so on stderr, with the reason."""
    for who, peer in PEERS.items():
        try:
            found = peer()
        except Exception as error:  # some compile when imported, which may fail in any way
            print(f"{who}: left out ({type(error).__name__}: {str(error).splitlines()[0]})", file=sys.stderr)
            continue
        yield from (Contender(row, who, prepare) for row, prepare in found.items())
