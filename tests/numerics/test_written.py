"""A quantizer as text says all that it is."""

from __future__ import annotations

import pytest
import torch
from altgrad_minifloat import altgrad_formats

from altgrad_core.errors import FormatError
from altgrad_core.numerics import ops
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.written import Tabulated, quantizer_of, text_of
from tests.numerics.test_library import HOWS, noise


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_a_quantizer_comes_back_from_its_text(how):
    assert quantizer_of(text_of(how)) == how


@pytest.mark.parametrize("format", [f for f in altgrad_formats() if not f.is_identity], ids=repr)
def test_every_format_known_by_its_table_alone_rounds_to_the_same_bits(format):
    how = Quantizer(Tabulated("of-a-table", format.bits, format.table))
    again = quantizer_of(text_of(how))
    assert again.target.facts() == how.target.facts()
    x = noise(7, 33)
    assert torch.equal(ops.quantize(x, again).values, ops.quantize(x, Quantizer(format)).values)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": {"name": "x", "bits": 3}, "table": "eA=="}'])
def test_another_text_is_refused(text):
    with pytest.raises(FormatError, match=r"^expected a quantizer as text_of writes it; got "):
        quantizer_of(text)
