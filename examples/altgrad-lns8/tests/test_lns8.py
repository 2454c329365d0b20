"""The format keeps every law, and a few values by hand."""

from altgrad_lns8 import LNS8

from altgrad_core.testing import check_format


def test_it_keeps_every_law_of_a_format() -> None:
    check_format(LNS8())


def test_some_values_by_hand() -> None:
    assert [LNS8().decode(code) for code in (0, 64, 72, 56, 64 + 128)] == [0.0, 1.0, 2.0, 0.5, -1.0]


def test_there_is_one_zero() -> None:
    assert len(LNS8().grid) == 255
