"""The choice of a backend: each equals the reference in all that it supports, and in nothing else is it asked."""

from __future__ import annotations

import math
import sys
from itertools import product
from types import ModuleType

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.numerics import backends, ops
from altgrad_core.numerics.backends import ORDER, choose, load, reference
from altgrad_core.numerics.backends.case import Case, Operation
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.rounding import ROUNDINGS
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.tally import Quantized
from altgrad_core.testing.exact import assert_same_bits, landmarks

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
MODES = [*ROUNDINGS, "stochastic:1", "stochastic:12"]
TILINGS = ["tensor", "row", "column", "block:7", "block:32", "tile:3x20", "tile:1x128"]
TYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
CASES = [(name, mode, tiling, dtype) for name in FORMATS for mode, tiling, dtype in product(MODES, TILINGS, TYPES)]


def values(format, dtype):
    """Numbers of many magnitudes on (7, 83), rungs and ties among them, some of them infinite or NaN."""
    generator = torch.Generator().manual_seed(len(format.name))
    x = torch.randn(7, 83, generator=generator) * torch.randn(7, 83, generator=generator).mul(3).exp()
    points = landmarks(format)
    x.view(-1)[:200] = points[torch.randint(len(points), (200,), generator=generator)]
    x[2, 5], x[3, 60], x[4, 7:20] = math.nan, math.inf, 0.0
    return x.to(dtype)


def assert_same(got: Quantized, expected: Quantized, x: torch.Tensor) -> None:
    assert_same_bits(got.values, expected.values, x)
    assert torch.equal(got.scale.nan_to_num(-1.0), expected.scale.nan_to_num(-1.0))
    assert got.scale.shape == expected.scale.shape
    assert [float(count) for count in got.tally] == [float(count) for count in expected.tally]


def check(name: str, mode: str, tiling: str, dtype: torch.dtype) -> None:
    """Every backend that has the case, on the CPU or in one of its own operations elsewhere, against the reference."""
    format, x = FORMATS[name], values(FORMATS[name], dtype)
    for overflow, nonfinite in (("saturate", "saturate"), ("specials", "block")):
        how = Quantizer(format, mode, Scaling("amax", "exact", granularity=tiling), overflow, nonfinite=nonfinite)
        for device in ("cpu", "meta"):  # what runs on other devices is the same arithmetic on the CPU
            case = Case("quantize", device, dtype, True, (format,), mode, nonfinite, how.tiling)
            for backend in filter(None, map(load, ORDER)):
                if backend is not reference and backend.supports(case):
                    assert_same(backend.quantize(x, how, key=9), reference.quantize(x, how, key=9), x)


@pytest.mark.parametrize("name", FORMATS)
def test_every_backend_gives_the_bits_of_the_reference_in_a_sample_of_cases(name):
    mine = [case for case in CASES if case[0] == name]
    for case in mine[list(FORMATS).index(name) :: 61]:
        check(*case)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), list(product(FORMATS, MODES)))
def test_every_backend_gives_the_bits_of_the_reference_in_all_cases(name, mode):
    for case in CASES:
        if case[:2] == (name, mode):
            check(*case)


def chosen(operation: Operation = "quantize", **facts) -> str:
    plain = {"device": "cpu", "dtype": torch.float32, "is_contiguous": True, "grids": (FORMATS["e4m3"],)}
    return choose(Case(operation, **{**plain, **facts})).__name__.rpartition(".")[2]


def test_a_backend_is_asked_only_for_what_it_names():
    tile, row = Scaling(granularity="tile:4x4").tiling, Scaling(granularity="row").tiling
    assert chosen() == chosen(rounding="stochastic") == chosen("walk") == "numba"
    assert chosen(tiling=row) == chosen(tiling=tile) == chosen("amax", tiling=row) == "numba"
    assert (
        chosen(device="cuda") == chosen(device="cuda", rounding="to-odd") == chosen("encode", device="cuda") == "triton"
    )
    assert chosen(device="meta") == chosen(device="xpu", rounding="stochastic") == "inductor"
    assert chosen("walk", device="xpu") == chosen("encode", device="xpu") == "reference"
    assert chosen(dtype=torch.float64) == chosen("walk", is_contiguous=False) == "reference"
    assert chosen("amax", tiling=tile) == "reference"
    assert chosen("walk", grids=(FORMATS["e8m0"],)) == "reference"
    for mode in ("nearest-odd", "to-odd", "stochastic:4"):
        assert chosen(rounding=mode) == chosen(rounding=mode, device="xpu") == "reference"


def test_every_operation_is_in_the_reference_and_what_a_backend_supports_it_has():
    from typing import get_args

    for operation, name in product(get_args(Operation), ORDER):
        backend = load(name)
        for device, dtype in product(("cpu", "cuda"), (torch.float32, torch.float64, torch.uint8)):
            case = Case(operation, device, dtype, True, (FORMATS["e4m3"],))
            assert not backend.supports(case) or callable(getattr(backend, operation))


def test_a_backend_from_elsewhere_takes_part_by_the_name_of_its_module(monkeypatch):
    mine = ModuleType("elsewhere.triton")
    mine.supports = lambda case: case.operation == "amax" and case.dtype == torch.float64
    mine.amax = lambda x, tiling: torch.tensor(7.0)
    monkeypatch.setitem(sys.modules, "elsewhere", ModuleType("elsewhere"))
    monkeypatch.setitem(sys.modules, "elsewhere.triton", mine)
    monkeypatch.setattr(backends, "ORDER", ("elsewhere.triton", *ORDER))
    assert ops.amax(torch.ones(2, dtype=torch.float64)).item() == 7.0
    assert ops.amax(torch.ones(2)).item() == 1.0
