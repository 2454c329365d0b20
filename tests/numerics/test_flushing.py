"""Subnormal numbers stay what they are where a library set the processor to flush them to zero."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import altgrad_core as ag
from altgrad_core.numerics.subnormals import flushes_subnormals

FORMAT = ag.load_format("bf16")


@pytest.fixture
def restored() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_flush_denormal(False)
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("rounding", ["nearest-even", "stochastic"])
def test_results_are_the_same_on_any_number_of_threads_whatever_the_mode_of_the_caller(rounding: str) -> None:
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor has no such mode")
    x = torch.full((1 << 19,), 2.0**-130)
    how = ag.Quantizer(FORMAT, rounding=rounding, scaling="none")
    expected = ag.quantize(x, how, key=3)  # the pool is there from now on, and keeps subnormal numbers
    assert int((expected.values != 0).sum()) == x.numel()
    for number in (1, 2):
        torch.set_num_threads(number)
        torch.set_flush_denormal(True)
        found = ag.quantize(x, how, key=3)
        assert flushes_subnormals()  # the caller has its mode again
        torch.set_flush_denormal(False)
        assert torch.equal(found.values.view(torch.int32), expected.values.view(torch.int32))
        assert found.tally is not None and int(found.tally.underflow) == 0


@pytest.mark.usefixtures("restored")
def test_walks_and_codes_keep_subnormal_numbers_too() -> None:
    weight = torch.full((64,), 2.0**-130)
    codes, ones = ag.encode(weight, FORMAT), torch.ones(64)
    torch.set_flush_denormal(True)
    moved = weight.clone()
    ag.walk(moved, torch.zeros(64), ag.Geometry.of(FORMAT), gradient=ones)
    values, position = ag.decode(codes, FORMAT), ag.Geometry.of(FORMAT).position(weight)
    torch.set_flush_denormal(False)
    assert torch.equal(moved, weight) and torch.equal(values, weight)
    assert torch.equal(position, ag.Geometry.of(FORMAT).position(weight))
