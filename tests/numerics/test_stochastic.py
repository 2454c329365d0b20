"""Stochastic rounding and its random numbers, against an independent Philox and exact fractions."""

from __future__ import annotations

import hashlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from altgrad_minifloat import altgrad_formats
from hypothesis import given, settings
from hypothesis import strategies as st

from altgrad_core.errors import FormatError
from altgrad_core.numerics.backends import reference
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.ops import encode, fake_quantize, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.random import derive_key, philox_words
from altgrad_core.testing.exact import round_exactly
from altgrad_core.testing.strategies import floats_near, minifloats

FORMATS = {format.name: format for format in altgrad_formats() if not format.is_identity}
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


def words_by_layout(key, count):
    """The word of each element: element 256 w + n of group g takes word w of counter 256 g + n."""
    words = []
    for group in range(-(-count // 1024)):
        blocks = [philox_4x32((256 * group + n, 0, 0, 0), (key & MASK, key >> 32), 7) for n in range(256)]
        words += [blocks[n][w] for w in range(4) for n in range(256)]
    return words[:count]


def stochastically(x, format, *, key=KEY):
    """What `x` is rounded to."""
    return quantize(x, Quantizer(format, "stochastic", "none"), key=key).values


def by_definition(x, format, *, key=KEY):
    """The same by exact fractions: up if and only if k + floor((r - n) * 2 ** 24) >= 2 ** 24."""
    words = words_by_layout(key, len(x))
    return [
        round_exactly(value, format.grid, "stochastic", bits=word >> 8)
        for value, word in zip(x.tolist(), words, strict=True)
    ]


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
    assert philox_words(key, 2500).tolist() == words_by_layout(key, 2500)


def test_a_key_depends_on_seed_and_stream_and_fits_in_63_bits():
    keys = {derive_key(seed, *stream) for seed in range(5) for stream in ((), ("a",), ("a", 1), ("b", 1), ("a", 2))}
    assert len(keys) == 25 and all(0 <= key < 2**63 for key in keys)


def test_two_streams_share_no_key_wherever_a_name_has_a_slash():
    streams = [("a/b",), ("a", "b"), ("a~1b",), ("a", "/b"), ("a/", "b"), ("a", "", "b"), ("a~0b",), ("a~b",)]
    assert len({derive_key(3, *stream) for stream in streams}) == len(streams)


def test_a_stream_without_a_slash_has_the_key_of_its_parts_joined():
    text = b"7/rounding/train/blocks.0.mlp/weight/3/0"
    expected = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
    assert derive_key(7, "rounding", "train", "blocks.0.mlp", "weight", 3, 0) == expected


@pytest.mark.parametrize("name", ["e0m7", "e2m5", "e4m3", "e7m0", "binary8p3", "e8m0", "fp16"])
def test_each_choice_is_the_one_of_the_definition(name):
    grid = FORMATS[name].grid
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(2000, generator=generator) * (len(grid) - 1)
    x = torch.tensor([grid.values[int(u)] * (1 - u % 1) + grid.values[int(u) + 1] * (u % 1) for u in places.tolist()])
    assert stochastically(x, FORMATS[name]).tolist() == by_definition(x, FORMATS[name])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["e4m3", "e6m1"])
def test_all_65536_inputs_of_two_bytes_choose_as_the_definition_has_it(name, dtype):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype).float()
    x = x[~x.isnan()]
    assert stochastically(x, FORMATS[name]).tolist() == by_definition(x, FORMATS[name])


@settings(max_examples=60, deadline=None)
@given(data=st.data(), format=minifloats(), key=st.integers(0, 2**63 - 1))
def test_any_float32_chooses_as_the_definition_has_it_in_any_format_of_the_family(data, format, key):
    values = data.draw(st.lists(floats_near(format).filter(lambda x: x == x), min_size=1, max_size=20))
    x = torch.tensor(values)
    assert stochastically(x, format, key=key).tolist() == by_definition(x, format, key=key)


def first_to_go_up(low, high, bits):
    """The lowest float32 between two neighbours that these random bits take up."""
    turn = Fraction(low) + (Fraction(high) - Fraction(low)) * Fraction(2**24 - bits, 2**24)
    x = np.float32(float(turn))
    return x if Fraction(float(x)) >= turn else np.nextafter(x, np.float32(math.inf))


@pytest.mark.usefixtures("either_path")
@pytest.mark.parametrize("name", ["e0m7", "e4m3", "e5m2", "e7m0", "e8m0", "binary8p3", "fp16"])
def test_a_choice_turns_at_the_very_float32_of_the_definition(name):
    grid, count = FORMATS[name].grid, 1500
    cells = torch.randint(len(grid) - 1, (count,), generator=torch.Generator().manual_seed(1)).tolist()
    lows, highs = ([grid.values[cell + step] for cell in cells] for step in (0, 1))
    bits = [word >> 8 for word in words_by_layout(KEY, count)]
    x = torch.tensor(np.array(list(map(first_to_go_up, lows, highs, bits))))
    assert stochastically(x, FORMATS[name]).tolist() == highs
    assert stochastically(torch.nextafter(x, torch.tensor(-math.inf)), FORMATS[name]).tolist() == lows


@pytest.mark.usefixtures("either_path")
def test_a_tiny_negative_is_just_below_the_middle_where_minus_one_and_one_are_neighbours():
    half = 2_408_853  # the key whose first element has the random bits of a half: the middle itself goes up
    assert words_by_layout(half, 1)[0] >> 8 == 2**23
    format = Minifloat(1, 0, 0, subnormals="none")
    got = [stochastically(torch.tensor([x]), format, key=half).item() for x in (0.0, 2.0**-149, -(2.0**-149), -1e-30)]
    assert got == [1.0, 1.0, -1.0, -1.0]


@pytest.mark.usefixtures("either_path")
def test_without_random_bits_even_the_smallest_negative_goes_down():
    none = 11871697  # the key whose first element has random bits that are all 0
    assert words_by_layout(none, 1)[0] >> 8 == 0
    got = [stochastically(torch.tensor([x]), FORMATS["e4m3"], key=none).item() for x in (-(2.0**-149), -1e-30, 0.0)]
    assert got == [-(2.0**-9), -(2.0**-9), 0.0]


@pytest.mark.parametrize("part", [0.5, 0.25, 0.9, 0.01, 2.0**-10])
@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("e4m3", 16.0, 18.0),
        ("e4m3", -18.0, -16.0),
        ("e4m3", 0.0, 2.0**-9),
        ("e4m3", -(2.0**-9), 0.0),
        ("e4m3", -3 * 2.0**-9, -2 * 2.0**-9),  # subnormal
        ("e4m3", -(2.0**-6), -7 * 2.0**-9),  # from the smallest normal value to the largest subnormal one
        ("e7m0", -1.0, -0.5),
        ("e8m0", 2.0**-127, 2.0**-126),
    ],
)
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


def test_only_an_infinity_leaves_the_grid():
    x = torch.tensor([57345.0, 1e30, math.inf, -1e30, -math.inf])
    got = fake_quantize(x, FORMATS["e5m2"], rounding="stochastic", overflow="specials", key=KEY)
    assert got.tolist() == [57344.0, 57344.0, math.inf, -57344.0, -math.inf]


def test_a_finite_value_saturates_even_where_dividing_by_the_scale_gives_infinity():
    x, scale = torch.tensor([3e38, -3e38, math.inf]), torch.tensor(2.0**-20)
    how = Quantizer(FORMATS["e5m2"], "stochastic", "none", "specials")
    for values in (x, x[:2]):  # the last is left to the fast path
        got = quantize(values, how, scale=scale, key=KEY).values
        assert got.tolist() == reference.quantize(values, how, scale=scale, key=KEY).values.tolist()
        assert (got[:2] * 2.0**20).tolist() == [57344.0, -57344.0]


@pytest.mark.usefixtures("either_path")
@pytest.mark.parametrize("format", [FORMATS["e4m3"], FORMATS["e8m0"]], ids=["e4m3", "e8m0"])
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
