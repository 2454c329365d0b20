"""A source of tokens whose entropy rate is known in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from altgrad_text.streams import smallest_dtype


def walk(vocabulary: int, *, tokens: int, seed: int) -> NDArray[Any]:
    """A walk around a circle: every token is the one before it plus an independent jump, modulo `vocabulary`.

    A jump is k with probability 2^-(k+1), and vocabulary - 1 with what is left: the run of ones at the low end of a
    random word. Only the raw stream of the bit generator is used, which numpy promises never to change.
    """
    words = np.random.PCG64(seed).random_raw(tokens)
    steps = np.minimum(_trailing_ones(words), vocabulary - 1)
    steps[0] = words[0] % vocabulary  # the start: uniform, which every later token then is too
    return (np.cumsum(steps) % vocabulary).astype(smallest_dtype(vocabulary))


def entropy_rate(vocabulary: int) -> float:
    """Nats per token that no model can go below: (2 - 2^(2 - vocabulary)) ln 2, the entropy of one jump."""
    return (2 - 2.0 ** (2 - min(vocabulary, 65))) * math.log(2)  # a word has 64 bits


def _trailing_ones(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many ones end each word; shape (words,)."""
    lowest_zero = ~words & (words + np.uint64(1))
    _, exponent = np.frexp(lowest_zero.astype(np.float64))  # a power of two, so it is exact
    return np.where(lowest_zero == 0, 64, exponent - 1).astype(np.int64)
