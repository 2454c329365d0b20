"""Which elements share a scale: shapes by hand, scales by slices, and the tiles of DeepSeek-V3."""

from __future__ import annotations

import math

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.numerics.ops import amax, decode, encode, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling
from altgrad_core.numerics.tiling import Tiling

FORMATS = {format.name: format for format in altgrad_formats()}
E4M3, E2M1 = FORMATS["e4m3"], FORMATS["e2m1"]
SHAPES = {
    "tensor": (),
    "row": (2, 5, 1),
    "column": (2, 1, 7),
    "block:3": (2, 5, 3),
    "tile:2x3": (2, 3, 3),
    "tile:9x9": (2, 1, 1),
}


@pytest.mark.parametrize(("granularity", "shape"), SHAPES.items())
def test_each_tile_of_each_matrix_has_a_scale(granularity, shape):
    assert Tiling.of(granularity).shape((2, 5, 7)) == shape
    x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    assert amax(x, Tiling.of(granularity)).shape == shape


def test_the_last_tiles_are_short():
    x = torch.arange(15.0).view(3, 5)
    tiling = Tiling.of("tile:2x2")
    assert amax(x, tiling).tolist() == [[6.0, 8.0, 9.0], [11.0, 13.0, 14.0]]
    spread = tiling.spread(amax(x, tiling), (3, 5))
    assert spread.tolist() == [[6.0, 6.0, 8.0, 8.0, 9.0]] * 2 + [[11.0, 11.0, 13.0, 13.0, 14.0]]


def test_a_vector_is_one_row():
    x = torch.tensor([1.0, -5.0, 2.0])
    assert amax(x, Tiling.of("row")).tolist() == amax(x, Tiling.of("tile:4x8")).tolist() == [5.0]
    assert amax(x, Tiling.of("column")).tolist() == [1.0, 5.0, 2.0]
    assert amax(torch.tensor(-3.0), Tiling.of("tile:4x8")).item() == 3.0


@pytest.mark.parametrize("granularity", SHAPES)
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0,)])
def test_a_tensor_without_elements_has_scales_of_nothing(granularity, shape):
    tiling = Tiling.of(granularity)
    done = quantize(torch.empty(shape), Quantizer(E4M3, scaling=Scaling(granularity=granularity)))
    assert done.scale.shape == tiling.shape(shape) and done.values.shape == shape


@pytest.mark.parametrize(("rows", "columns"), [(128, 128), (1, 128), (5, 100)])
@pytest.mark.parametrize("rounding", ["exact", "up"])
def test_a_tile_is_quantized_as_if_it_were_alone(rows, columns, rounding):
    x = torch.randn(300, 260, generator=torch.Generator().manual_seed(1)).mul(3).exp()
    how = Quantizer(E4M3, scaling=Scaling("amax", rounding, granularity=f"tile:{rows}x{columns}"))
    done, alone = quantize(x, how), Quantizer(E4M3, scaling=Scaling("amax", rounding))
    for i in range(0, 300, rows)[:4] if rows > 1 else (0, 299):
        for j in range(0, 260, columns):
            part = quantize(x[i : i + rows, j : j + columns], alone)
            assert torch.equal(done.values[i : i + rows, j : j + columns], part.values)
            assert done.scale[i // rows, j // columns] == part.scale
    codes = encode(x, how, scale=done.scale)
    assert torch.equal(decode(codes, how, scale=done.scale), done.values)


def test_a_column_is_a_row_of_the_transposed():
    x = torch.randn(6, 9, generator=torch.Generator().manual_seed(2))
    column, row = (Quantizer(E4M3, scaling=Scaling("amax", "exact", granularity=name)) for name in ("column", "row"))
    assert torch.equal(quantize(x, column).values, quantize(x.T, row).values.T)


@pytest.mark.parametrize("granularity", ["block:2", "tile:1x2"])
@pytest.mark.parametrize("scale", [None, torch.ones(2, 2)])
def test_ocps_rule_loses_the_whole_block_of_an_infinity_or_nan_and_no_other(granularity, scale):
    x = torch.tensor([[math.nan, 1.0, 3.0, 2.0], [6.0, -1.0, 4.0, -math.inf]])
    how = Quantizer(E2M1, scaling=Scaling("amax", "mx-floor", granularity=granularity), nonfinite="block")
    done = quantize(x, how, scale=scale)
    lost = [[True, True, False, False], [False, False, True, True]]
    assert done.values.isnan().tolist() == lost and done.scale.isnan().tolist() == [[True, False], [False, True]]
    assert done.values[~torch.tensor(lost)].tolist() == ([3.0, 2.0, 6.0, -1.0])
    assert (int(done.tally.nan), int(done.tally.infinite), int(done.tally.underflow)) == (1, 1, 0)
    assert torch.equal(quantize(x, how, scale=done.scale).values.isnan(), done.values.isnan())
    codes = encode(x, how, scale=done.scale)
    assert torch.equal(decode(codes, how, scale=done.scale).nan_to_num(9.0), done.values.nan_to_num(9.0))
