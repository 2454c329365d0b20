"""Quantizers as plain data and as text: all that they are, so that a reader needs no plugin."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from altgrad_core.errors import FormatError
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling


class Tabulated(Format):
    """A format that is known by its table alone.

    Args:
        values: of every code, in order; 2 ** bits of them.
    """

    def __init__(self, name: str, bits: int, values: tuple[float, ...]) -> None:
        self.name, self.bits, self._values = name, bits, values

    def decode(self, code: int) -> float:
        return self._values[code]


def written_quantizer(quantizer: Quantizer) -> dict[str, Any]:
    """A quantizer as plain data, its format by its facts."""
    own = {f.name: getattr(quantizer, f.name) for f in fields(quantizer) if f.name not in ("format", "scaling")}
    return {"format": quantizer.target.facts(), "scaling": asdict(quantizer.scale_rule), **own}


def read_quantizer(written: Mapping[str, Any], format: Format) -> Quantizer:
    """The quantizer that was written, with its format."""
    own = {name: value for name, value in written.items() if name not in ("format", "scaling")}
    return Quantizer(format=format, scaling=Scaling(**written["scaling"]), **own)


def minifloat_of(facts: Mapping[str, Any]) -> Minifloat | None:
    """The binary floating-point format with these facts; None where they are those of another kind of format."""
    if "exponent_bits" not in facts:
        return None
    return Minifloat(**{name: value for name, value in facts.items() if name != "bits"})


def text_of(quantizer: Quantizer) -> str:
    """A quantizer as one line of JSON; a format that is not binary floating point with its table."""
    written, format = written_quantizer(quantizer), quantizer.target
    if minifloat_of(written["format"]) is None:
        packed = struct.pack(f"<{len(format.table)}f", *format.table)
        written["table"] = b64encode(zlib.compress(packed)).decode()
    return json.dumps(written, sort_keys=True)


def quantizer_of(text: str) -> Quantizer:
    """The quantizer that `text_of` wrote.

    Raises:
        FormatError: the text describes none, or has a rounding or a granularity that this process does not know.
    """
    try:
        written = json.loads(text)
        facts, table = written["format"], written.pop("table", None)
        format: Format | None = minifloat_of(facts)
        if format is None:
            packed = zlib.decompress(b64decode(table))
            format = Tabulated(facts["name"], facts["bits"], struct.unpack(f"<{2 ** facts['bits']}f", packed))
        return read_quantizer(written, format)
    except (ValueError, TypeError, KeyError, struct.error, zlib.error) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"expected a quantizer as text_of writes it; got {text[:60]!r} ({error})") from None
