"""The named floating-point formats: every split of one byte, the standard ones, and their well-known other readings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from altgrad_core import Float32, Format, Minifloat, hookimpl


class Encoding(NamedTuple):
    """What defines one format; the words are those of `Minifloat`."""

    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: Literal["finite", "fn", "ieee", "fnuz", "p3109"]
    subnormals: Literal["yes", "no", "none"] = "yes"
    signed: bool = True


FORMATS: dict[str, Encoding] = {
    # The eight splits of one byte.
    "e0m7": Encoding(0, 7, 1, "finite"),  # fixed point: m / 128
    "e1m6": Encoding(1, 6, 0, "finite"),  # the grid of e0m7 times 4
    "e2m5": Encoding(2, 5, 1, "finite"),
    "e3m4": Encoding(3, 4, 1, "finite"),  # largest 124; other readings of the name reach 15.5, 30 or 31
    "e4m3": Encoding(4, 3, 7, "fn"),  # OCP OFP8
    "e5m2": Encoding(5, 2, 15, "ieee"),  # OCP OFP8
    "e6m1": Encoding(6, 1, 31, "finite"),
    "e7m0": Encoding(7, 0, 63, "finite"),
    # Other readings of the same names.
    "e3m4-ieee": Encoding(3, 4, 3, "ieee"),
    "e4m3-ieee": Encoding(4, 3, 7, "ieee"),
    "e4m3-fnuz": Encoding(4, 3, 8, "fnuz"),
    "e5m2-fnuz": Encoding(5, 2, 16, "fnuz"),
    # OCP MX: the scale and the small elements.
    "e8m0": Encoding(8, 0, 127, "fn", subnormals="none", signed=False),
    "e2m1": Encoding(2, 1, 1, "finite"),
    "e2m3": Encoding(2, 3, 1, "finite"),
    "e3m2": Encoding(3, 2, 3, "finite"),
    # Two bytes.
    "bf16": Encoding(8, 7, 127, "ieee"),
    "fp16": Encoding(5, 10, 15, "ieee"),
    # IEEE P3109, signed and extended: the digit is the precision.
    "binary8p1": Encoding(7, 0, 64, "p3109"),
    "binary8p2": Encoding(6, 1, 32, "p3109"),
    "binary8p3": Encoding(5, 2, 16, "p3109"),
    "binary8p4": Encoding(4, 3, 8, "p3109"),
    "binary8p5": Encoding(3, 4, 4, "p3109"),
    "binary8p6": Encoding(2, 5, 2, "p3109"),
    "binary8p7": Encoding(1, 6, 1, "p3109"),
}


@hookimpl
def altgrad_formats() -> Iterator[Format]:
    """Every format of the table above, and `fp32`, the identity."""
    for name, encoding in FORMATS.items():
        yield Minifloat(**encoding._asdict(), name=name)
    yield Float32()
