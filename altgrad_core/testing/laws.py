"""A law: a sentence, and a function that yields what breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

Law = Callable[[Any], Iterator[str]]
"""Its docstring is the law; it yields one sentence for every breach that it finds."""


def check_laws(who: str, laws: Iterable[Law], subject: Any) -> None:
    """Try every law on `subject`; torch's default generator is left as it was.

    Raises:
        AssertionError: the first law that is broken: `who`, the law, and what came.
    """
    for law in laws:
        text = " ".join((law.__doc__ or "").split())
        try:
            with torch.random.fork_rng(devices=[]):
                breach = next(law(subject), None)
        except AssertionError as error:
            raise AssertionError(f"{who}, law: {text} {error}") from error
        except Exception as error:
            notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
            raise AssertionError(f"{who}, law: {text} It raised {type(error).__name__}: {error}{notes}") from error
        if breach is not None:
            raise AssertionError(f"{who}, law: {text} {breach}")
