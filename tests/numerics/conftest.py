"""Oracles that know nothing of this project; and the choice of the path for tests of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gfloat.formats
import pytest
from gfloat import FormatInfo
from gfloat.types import Domain

from altgrad_core.numerics import backends
from altgrad_core.numerics.backends import triton
from altgrad_core.numerics.minifloat import Minifloat

NAMED_BY_GFLOAT = {
    "e4m3": gfloat.formats.format_info_ocp_e4m3,
    "e5m2": gfloat.formats.format_info_ocp_e5m2,
    "e8m0": gfloat.formats.format_info_ocp_e8m0,
    "e2m1": gfloat.formats.format_info_ocp_e2m1,
    "e2m3": gfloat.formats.format_info_ocp_e2m3,
    "e3m2": gfloat.formats.format_info_ocp_e3m2,
    "bf16": gfloat.formats.format_info_bfloat16,
    "fp16": gfloat.formats.format_info_binary16,
    **{f"binary8p{precision}": gfloat.formats.format_info_p3109(8, precision) for precision in range(1, 8)},
}


def _gfloat_info(format: Minifloat) -> FormatInfo:
    """gfloat's own definition where it has one by name, else one made of the facts."""
    if format.name in NAMED_BY_GFLOAT:
        return NAMED_BY_GFLOAT[format.name]
    top_mantissas = 2**format.mantissa_bits - 1
    return FormatInfo(
        format.name,
        format.bits,
        format.mantissa_bits + 1,
        bias=format.bias,
        is_signed=format.signed,
        domain=Domain.Extended if format.specials in ("ieee", "p3109") else Domain.Finite,
        has_nz=format.signed and format.specials not in ("fnuz", "p3109"),
        num_high_nans={"fn": 1, "ieee": top_mantissas}.get(format.specials, 0),
        has_subnormals=format.subnormals == "yes",
        is_twos_complement=False,
    )


@pytest.fixture
def gfloat_info() -> Callable[[Minifloat], FormatInfo]:
    """The function from a Minifloat to gfloat's FormatInfo."""
    return _gfloat_info


@pytest.fixture(params=["fast path", "reference"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice, the second time without the compiled path; gives the name of the path."""
    if request.param == "reference":
        monkeypatch.setattr(backends, "ORDER", ("reference",))
    return request.param


@pytest.fixture(params=["compiled", "tensor operations", "triton"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Runs a test without compiled moves, too, and with those for CUDA, which the interpreter runs on the CPU."""
    if request.param == "triton":
        monkeypatch.setattr(triton, "DEVICE", "cpu")
        monkeypatch.setattr(backends, "ORDER", ("triton", "reference"))
    elif request.param != "compiled":
        monkeypatch.setattr(backends, "ORDER", ("reference",))
    backends._chosen.cache_clear()
    yield request.param
    backends._chosen.cache_clear()
