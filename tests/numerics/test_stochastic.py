"""Stochastic rounding and its random numbers, against an independent Philox and exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.errors import FormatError
from altgrad_core.numerics import reference
from altgrad_core.numerics.quantizer import encode, fake_quantize, quantize
from altgrad_core.numerics.random import derive_key, philox_words

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
UNIT = torch.ones(())
KEY = derive_key(7, "blocks.0", "weight", 3)
MASK = 0xFFFFFFFF


def philox_4x32(counter, key, rounds):
    """Four words of Philox 4x32, after Salmon et al. 2011, section 3.3 and their code."""
    counter, key = list(counter), list(key)
    for _ in range(rounds):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second & MASK,
            (first >> 32) ^ counter[3] ^ key[1],
            first & MASK,
        ]
        key = [(key[0] + 0x9E3779B9) & MASK, (key[1] + 0xBB67AE85) & MASK]
    return counter


def stochastically(x, format, *, key=KEY):
    """What `x` is rounded to."""
    return quantize(x, format, scale=UNIT, rounding="stochastic", overflow="saturate", key=key)[0]


def rounds_up_by_definition(x, grid, word):
    """The rung above the floor, or the floor: up if and only if k + floor((r - n) * 2 ** 24) >= 2 ** 24."""
    index = max(i for i, value in enumerate(grid.values[:-1]) if value <= x)
    low, high = Fraction(grid.values[index]), Fraction(grid.values[index + 1])
    part = (Fraction(x) - low) / (high - low)
    return grid.values[index + ((word >> 8) + math.floor(part * 2**24) >= 2**24)]


@pytest.mark.parametrize(
    ("rounds", "counter", "key", "words"),
    [  # known answers published with Random123
        (7, (0,) * 4, (0,) * 2, (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        (10, (0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (10, (MASK,) * 4, (MASK,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            10,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_the_judge_of_the_random_numbers_gives_the_published_answers(rounds, counter, key, words):
    assert tuple(philox_4x32(counter, key, rounds)) == words


@pytest.mark.parametrize("key", [0, 1, KEY, 2**63 - 1, 0xFFFFFFFF, 1 << 32])
def test_the_words_are_those_of_seven_rounds_with_the_counter_of_the_element(key):
    halves = (key & MASK, key >> 32)
    expected = [word for n in range(25) for word in philox_4x32((n, 0, 0, 0), halves, 7)]
    assert philox_words(key, 99).tolist() == expected[:99]


def test_a_key_depends_on_seed_and_stream_and_fits_in_63_bits():
    keys = {derive_key(seed, *stream) for seed in range(5) for stream in ((), ("a",), ("a", 1), ("b", 1), ("a", 2))}
    assert len(keys) == 25 and all(0 <= key < 2**63 for key in keys)


@pytest.mark.parametrize("name", ["e0m7", "e2m5", "e4m3", "e7m0", "binary8p3", "e8m0", "fp16"])
def test_each_choice_is_the_one_of_the_definition(name):
    grid = FORMATS[name].grid
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(400, generator=generator) * (len(grid) - 1)
    x = torch.tensor([grid.values[int(u)] * (1 - u % 1) + grid.values[int(u) + 1] * (u % 1) for u in places.tolist()])
    halves = (KEY & MASK, KEY >> 32)
    words = [word for n in range(100) for word in philox_4x32((n, 0, 0, 0), halves, 7)]
    expected = [rounds_up_by_definition(value, grid, word) for value, word in zip(x.tolist(), words, strict=True)]
    assert stochastically(x, FORMATS[name]).tolist() == expected


@pytest.mark.parametrize("part", [0.5, 0.25, 0.9, 0.01, 2.0**-10])
@pytest.mark.parametrize(("name", "low", "high"), [("e4m3", 16.0, 18.0), ("e4m3", -18.0, -16.0), ("e7m0", -1.0, -0.5)])
def test_the_mean_of_a_million_draws_is_the_value(name, low, high, part):
    x = low + part * (high - low)
    mean = stochastically(torch.full((1_000_000,), x), FORMATS[name]).double().mean().item()
    standard_error = (high - low) * math.sqrt(part * (1 - part) / 1_000_000)
    assert abs(mean - x) < 4 * standard_error


def test_values_on_the_grid_never_move():
    x = torch.tensor(FORMATS["e4m3"].grid.values)
    for key in range(200):
        assert torch.equal(stochastically(x, FORMATS["e4m3"], key=key), x)


def test_values_never_leave_their_two_neighbours():
    x = torch.tensor([0.1, -0.1, 447.0, -447.0, 0.001, -0.001, 1.05]).repeat(5000)
    allowed = [{0.09375, 0.1015625}, {416.0, 448.0}, {0.0, 2.0**-9}, {1.0, 1.125}]
    got = stochastically(x, FORMATS["e4m3"]).view(5000, 7)
    for column, neighbours in zip((0, 2, 4, 6), allowed, strict=True):
        assert set(got[:, column].tolist()) == neighbours
        if column < 6:
            assert set(got[:, column + 1].tolist()) == {-value for value in neighbours}


def test_a_tiny_negative_is_not_pushed_away_by_float_rounding():
    x = torch.full((100_000,), -1e-30)
    assert set(stochastically(x, FORMATS["e4m3"]).tolist()) == {0.0}


def test_above_the_largest_it_saturates():
    x = torch.tensor([449.0, 1e30, math.inf, -449.0, -math.inf]).repeat(1000)
    assert set(stochastically(x, FORMATS["e4m3"]).tolist()) == {448.0, -448.0}


def test_a_finite_value_saturates_even_where_dividing_by_the_scale_gives_infinity():
    x = torch.tensor([3e38, -3e38, math.inf])
    how = {"scale": torch.tensor(2.0**-20), "rounding": "stochastic", "overflow": "specials", "key": KEY}
    for values in (x, x[:2]):  # the last is left to the fast path
        got, expected = (
            quantize(values, FORMATS["e5m2"], **how)[0],
            reference.quantize(values, FORMATS["e5m2"], **how)[0],
        )
        assert got.tolist() == expected.tolist()
        assert (got[:2] * 2.0**20).tolist() == [57344.0, -57344.0]


@pytest.mark.parametrize("format", [FORMATS["e4m3"], FORMATS["e8m0"]], ids=["fast path", "reference"])
def test_an_element_depends_on_its_number_and_the_key_alone(format):
    x = torch.rand(10_001, generator=torch.Generator().manual_seed(2)) + 0.1
    whole = stochastically(x, format)
    for count in (1, 2, 3, 4097, 10_000):
        assert torch.equal(stochastically(x[:count], format), whole[:count])
    other = x.clone()
    other[:5000] = 3.3
    assert torch.equal(stochastically(other, format)[5000:], whole[5000:])
    assert torch.equal(stochastically(x[:10_000].view(100, 100), format), whole[:10_000].view(100, 100))
    assert not torch.equal(stochastically(x, format, key=KEY + 1), whole)


def test_elements_are_numbered_by_shape_not_by_memory():
    x = torch.rand(64, 96, generator=torch.Generator().manual_seed(3))
    assert torch.equal(stochastically(x.t(), FORMATS["e4m3"]), stochastically(x.t().contiguous(), FORMATS["e4m3"]))


def test_threads_change_nothing():
    x = torch.rand(100_000, generator=torch.Generator().manual_seed(4))
    threads = torch.get_num_threads()
    whole = stochastically(x, FORMATS["e8m0"])
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(stochastically(x, FORMATS["e8m0"]), whole)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("call", [fake_quantize, encode])
def test_stochastic_rounding_without_a_key_is_refused(call):
    for name in ("e4m3", "e8m0"):
        with pytest.raises(FormatError) as refusal:
            call(torch.ones(3), FORMATS[name], rounding="stochastic")
        assert str(refusal.value) == "stochastic rounding needs a key: pass key=derive_key(seed, stream, step)"
