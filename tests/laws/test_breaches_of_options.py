"""The test of the tests: each law of options of any kind, and a plugin that breaks it."""

from __future__ import annotations

from typing import Any, ClassVar

from altgrad_core import (
    Monitor,
)
from altgrad_core.testing import (
    check_monitor,
    check_optimizer,
)
from tests.laws.breaches import Sgd, said


def test_a_class_without_a_docstring_is_told_so() -> None:
    class Silent(Sgd):
        pass

    assert said(check_optimizer, Silent) == (
        'optimizer "sgd", law: Its docstring begins with a sentence, which `altgrad list-plugins` shows. '
        "It begins with ''; write one line that ends with a full stop."
    )


def test_a_missing_option_is_asked_for() -> None:
    class Needy(Sgd):
        """Needs a word."""

        word: str

    assert said(check_optimizer, Needy) == (
        'optimizer "sgd" cannot be made: word: Field required; pass it: check_optimizer(Needy, word=...)'
    )


def test_an_option_of_the_wrong_type_is_named() -> None:
    assert said(check_optimizer, Sgd, lr=-1.0) == ('optimizer "sgd" cannot be made: lr: Input should be greater than 0')


def test_an_abstract_class_is_told_what_it_lacks() -> None:
    class Unwritten(Monitor):
        """Unwritten."""

        name: ClassVar = "unwritten"

    assert said(check_monitor, Unwritten) == (
        "monitor Unwritten: altgrad_monitors yielded Unwritten, which does not define observe"
    )


def test_options_that_cannot_be_read_back_are_refused() -> None:
    class Odd(Sgd):
        """Holds a complex number."""

        number: complex = 1j
        anything: Any = frozenset({1})

    assert said(check_optimizer, Odd).startswith('optimizer "sgd", law: Written as JSON, as resolved.toml holds them,')
