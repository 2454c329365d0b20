"""lns8: a logarithmic number system, one byte, base 2 ** (1 / 8)."""

from collections.abc import Iterator

from altgrad_core import Format, hookimpl


class LNS8(Format):
    """Sign and a 7-bit power of 2 ** (1 / 8), from 2 ** -7.875 to 2 ** 7.875; power 0 is zero."""

    name = "lns8"

    def decode(self, code: int) -> float:
        """The value of `code`: sign * 2 ** ((power - 64) / 8)."""
        sign, power = -1.0 if code & 0x80 else 1.0, code & 0x7F
        return sign * 2.0 ** ((power - 64) / 8) if power else 0.0


@hookimpl
def altgrad_formats() -> Iterator[Format]:
    """The format of this package."""
    yield LNS8()
