"""The Hadamard transform of operands, against scipy's matrices."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import hadamard

import altgrad_core as ag
from altgrad_core.numerics.hadamard import restored, transformed
from altgrad_core.numerics.written import quantizer_of, text_of

E2M1 = ag.load_format("e2m1")


def how(size: int | None = 16, **options: object) -> ag.Quantizer:
    return ag.Quantizer(E2M1, scaling=ag.Scaling("amax", granularity="row"), hadamard=size, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2, 4, 16, 128])
def test_it_is_the_matrix_of_scipy_on_every_block(size: int) -> None:
    x = torch.randn(3, 2 * size, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor(hadamard(size), dtype=torch.float64) / math.sqrt(size)
    expected = (x.double().unflatten(-1, (2, size)) @ matrix).flatten(-2)
    torch.testing.assert_close(transformed(x, size).double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(restored(transformed(x, size), size), x, rtol=1e-5, atol=1e-6)


def test_random_signs_come_before_it_and_follow_from_their_seed() -> None:
    unit = torch.eye(16)
    matrix = torch.tensor(hadamard(16), dtype=torch.float32) / 4
    rotated = transformed(unit, 16, 7)
    signs = (rotated @ matrix).diagonal()
    assert signs.abs().allclose(torch.ones(16)) and 0 < int((signs > 0).sum()) < 16
    torch.testing.assert_close(rotated, torch.diag(signs) @ matrix)
    torch.testing.assert_close(restored(rotated, 16, 7), unit, rtol=0, atol=1e-6)
    assert torch.equal(transformed(unit, 16, 7), rotated) and not torch.equal(transformed(unit, 16, 8), rotated)


@pytest.mark.parametrize("seed", [None, 3])
def test_the_product_of_two_rotated_operands_is_the_product(seed: int | None) -> None:
    a, b = torch.randn(5, 32), torch.randn(7, 32)
    torch.testing.assert_close(transformed(a, 16, seed) @ transformed(b, 16, seed).T, a @ b.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [None, 3])
def test_quantize_rounds_in_the_rotated_basis(seed: int | None) -> None:
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    done = ag.quantize(x, how(hadamard_signs=seed))
    inner = ag.quantize(transformed(x, 16, seed), how(None))
    assert torch.equal(done.values, restored(inner.values, 16, seed))
    assert torch.equal(done.scale, inner.scale) and done.tally == inner.tally
    assert not torch.equal(done.values, ag.quantize(x, how(None)).values)


def test_what_is_beside_an_outlier_is_kept() -> None:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    x[:, 3] = 60.0
    kept = [float(ag.quantize(x, how(size)).values[:, :3].square().sum()) for size in (None, 16)]
    assert kept[0] == 0.0  # all others round to zero
    assert kept[1] > 0.0


def test_types_out_and_programs_agree() -> None:
    x, rotated = torch.randn(4, 32), how(hadamard_signs=2)
    values = ag.quantize(x, rotated).values
    half = x.to(torch.bfloat16)
    assert ag.quantize(half, how()).values.dtype == torch.bfloat16
    out = torch.empty_like(x)
    assert ag.quantize(x, rotated, out=out).values is out and torch.equal(out, values)
    compiled = torch.compile(lambda x: ag.fake_quantize(x, rotated), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x), values)
    assert quantizer_of(text_of(how(hadamard_signs=5))) == how(hadamard_signs=5)


def test_the_identity_is_left_alone() -> None:
    x = torch.randn(3, 5)
    assert torch.equal(ag.quantize(x, ag.Quantizer(ag.load_format("fp32"), hadamard=16)).values, x)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hadamard": 12}, "hadamard = 12: expected a power of two, such as 16"),
        ({"hadamard": 1}, "hadamard = 1: expected a power of two, such as 16"),
        ({"hadamard_signs": 3}, "hadamard_signs = 3 needs hadamard, the size of the blocks"),
        (
            {"hadamard": 16, "straight_through": "clipped"},
            'hadamard: with straight_through = "clipped" no element has a gradient of its own; use "identity"',
        ),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ag.FormatError) as caught:
        ag.Quantizer(E2M1, **options)  # type: ignore[arg-type]
    assert str(caught.value) == said


def test_a_length_that_is_no_multiple_is_refused() -> None:
    with pytest.raises(ag.FormatError) as caught:
        ag.quantize(torch.ones(2, 24), how())
    assert str(caught.value) == (
        "hadamard = 16: the product sums over 24 elements, which is not a multiple of 16; choose another size"
    )


def test_codes_of_a_transform_are_refused() -> None:
    with pytest.raises(ag.FormatError, match="the codes are those of the Hadamard transform of x"):
        ag.encode(torch.ones(2, 16), how())
