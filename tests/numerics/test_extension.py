"""A rounding mode, a tiling and a backend from outside the package: nothing else is edited, and other backends fall back."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
from altgrad_minifloat import altgrad_formats
from pydantic import ValidationError

from altgrad_core.errors import FormatError
from altgrad_core.manifest.recipe_schema import QuantizerTable
from altgrad_core.numerics import backends, ops, rounding, tiling
from altgrad_core.numerics.backends import ORDER, choose, load, reference
from altgrad_core.numerics.backends.case import Case
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.rounding import MODES, Mode
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.tiling import TILINGS, Tiling

E4M3 = {format.name: format for format in altgrad_formats()}["e4m3"]


@pytest.fixture(autouse=True)
def _names_are_forgotten():
    yield
    Tiling.of.cache_clear()


@dataclass(frozen=True)
class First(Tiling):
    """One scale for each index of the first dimension, whatever the others are."""

    def shape(self, shape):
        return (shape[0], *[1] * (len(shape) - 1))

    def reduce(self, magnitude):
        return magnitude.amax(dim=tuple(range(1, magnitude.ndim)), keepdim=True)

    def spread(self, scale, shape):
        return scale


def chosen(how: Quantizer) -> str:
    """The backend that rounds by this quantizer on the CPU."""
    case = Case("quantize", "cpu", torch.float32, True, (how.target,), how.rounding, how.nonfinite, how.tiling)
    assert not load("inductor").supports(case._replace(device="cuda"))
    return choose(case).__name__.rpartition(".")[2]


def test_a_rounding_mode_is_one_row(monkeypatch):
    with pytest.raises(FormatError, match='no rounding "nearest-up"'):
        Quantizer(E4M3, "nearest-up")
    monkeypatch.setitem(MODES, "nearest-up", Mode("positive", nearest=True))
    how = Quantizer(E4M3, "nearest-up", "none")
    assert chosen(how) == "reference"
    x = torch.tensor([17.0, -17.0, 16.9, -19.0])  # among 16, 18 and 20
    assert ops.quantize(x, how).values.tolist() == [18.0, -16.0, 16.0, -18.0]
    assert torch.equal(ops.fake_quantize(x, E4M3, rounding="nearest-up"), ops.quantize(x, how).values)
    assert QuantizerTable(format="e4m3", rounding="nearest-up").rounding == "nearest-up"
    assert "nearest-up" in rounding.expected()


def test_a_tiling_of_rows_and_columns_is_one_row(monkeypatch):
    monkeypatch.setitem(TILINGS, "matrix", lambda: Tiling(None, None))
    monkeypatch.setitem(TILINGS, "stripe:N", lambda rows: Tiling(rows, None))
    x = torch.arange(1.0, 25.0).view(2, 4, 3)
    assert ops.amax(x, Tiling.of("matrix")).flatten().tolist() == [12.0, 24.0]
    how = Quantizer(E4M3, scaling=Scaling("amax", "exact", granularity="stripe:2"))
    assert chosen(how) == "numba"
    for stripe, values in zip(x.view(4, 2, 3), ops.quantize(x, how).values.view(4, 2, 3), strict=True):
        assert torch.equal(values, ops.quantize(stripe, Quantizer(E4M3, scaling=Scaling("amax", "exact"))).values)
    assert QuantizerTable(format="e4m3", granularity="stripe:16").granularity == "stripe:16"
    with pytest.raises(ValidationError, match=r"stripe:N"):
        QuantizerTable(format="e4m3", granularity="stripe:0")


def test_a_tiling_of_any_other_shape_is_a_subclass(monkeypatch):
    monkeypatch.setitem(TILINGS, "first", First)
    how = Quantizer(E4M3, scaling=Scaling("amax", "exact", granularity="first"))
    assert chosen(how) == "numba"
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 30.0, 1e-3]).view(3, 1, 1)
    done = ops.quantize(x, how)
    assert done.scale.shape == (3, 1, 1)
    for part, values in zip(x, done.values, strict=True):
        assert torch.equal(values, ops.quantize(part, Quantizer(E4M3, scaling=Scaling("amax", "exact"))).values)
    codes = ops.encode(x, how, scale=done.scale)
    assert torch.equal(ops.decode(codes, how, scale=done.scale), done.values)


def test_a_backend_is_one_module_and_its_place_in_the_order(monkeypatch):
    mine = ModuleType("mine")
    calls = []

    def quantize(x, how, **given):
        calls.append(how.rounding)
        return reference.quantize(x, how, **given)

    mine.supports = lambda case: case.operation == "quantize" and case.rounding == "to-odd"
    mine.quantize = quantize
    monkeypatch.setitem(sys.modules, "outside", ModuleType("outside"))
    monkeypatch.setitem(sys.modules, "outside.mine", mine)
    monkeypatch.setattr(backends, "ORDER", ("outside.mine", *ORDER))
    x = torch.randn(4, 4)
    for mode in ("to-odd", "nearest-even"):
        how = Quantizer(E4M3, mode)
        assert torch.equal(ops.quantize(x, how).values, reference.quantize(x, how).values)
    assert calls == ["to-odd"]


def test_the_names_of_the_package_are_described_as_they_are_accepted():
    import re

    for names, good, bad in (
        (rounding, ["stochastic", "stochastic:7", *MODES], ["stochastic:24", "up", "stochastic:0"]),
        (
            tiling,
            ["tensor", "row", "column", "block:32", "tile:128x1"],
            ["block", "block:0", "tile:3", "row:2", "rows"],
        ),
    ):
        assert all(re.fullmatch(names.pattern(), name) for name in good)
        assert not any(re.fullmatch(names.pattern(), name) for name in bad)
