"""What tables of token counts reach on the validation split: the losses that a model has to beat to have learned more."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMES = ("unigram", "bigram", "trigram")
MOST_COUNTED = 1 << 22  # tokens of the training split
MOST_JUDGED = 1 << 20  # tokens of the validation split
DIGITS = 6

Ids = NDArray[np.int64]


def table_losses(train: NDArray[Any], validation: NDArray[Any], *, vocabulary: int) -> dict[str, float]:
    """The mean loss in nats per token of tables of counts, by name; empty where a split has fewer than three tokens.

    The probability of a token w after the tokens h is interpolated with that after one token less, h' (Witten and Bell
    1991, as in Chen and Goodman 1999): p(w | h) = (c(h w) + T(h) p(w | h')) / (c(h) + T(h)), where c counts in the
    training split and T(h) is the number of distinct tokens seen after h. Below the unigram stands 1 / vocabulary.

    Args:
        train, validation: the tokens of both splits; the first 4,194,304 and 1,048,576 of them are used.
        vocabulary: the number of distinct tokens.
    """
    used = train[:MOST_COUNTED], validation[:MOST_JUDGED]
    return dict(_losses(*(np.asarray(part, np.int32).tobytes() for part in used), vocabulary))


@lru_cache(maxsize=2)  # the cells of a study that a process trains share their text
def _losses(train: bytes, validation: bytes, vocabulary: int) -> dict[str, float]:
    counted, judged = (np.frombuffer(part, np.int32).astype(np.int64) for part in (train, validation))
    if min(len(counted), len(judged)) < len(NAMES):
        return {}
    longest = max(order for order in range(1, len(NAMES) + 1) if vocabulary**order < 2**62)
    likely = np.full(len(judged) - len(NAMES) + 1, 1.0 / vocabulary)
    losses: dict[str, float] = {}
    for order in range(1, longest + 1):
        likely = _interpolated(_ids(counted, order, vocabulary), _ids(judged, order, vocabulary), vocabulary, likely)
        losses[NAMES[order - 1]] = round(-math.fsum(np.log(likely).tolist()) / len(likely), DIGITS)
    return losses


def _ids(tokens: Ids, order: int, vocabulary: int) -> Ids:
    """A number for every run of `order` tokens; as many as there are runs of the longest, aligned at the last token."""
    ids = np.zeros(len(tokens) - len(NAMES) + 1, np.int64)
    for place in range(len(NAMES) - order, len(NAMES)):
        ids = ids * vocabulary + tokens[place : place + len(ids)]
    return ids


def _interpolated(counted: Ids, judged: Ids, vocabulary: int, shorter: NDArray[np.float64]) -> NDArray[np.float64]:
    """p(w | h) of every judged run, from p(w | h')."""
    runs, times = np.unique(counted, return_counts=True)
    contexts, kinds = np.unique(runs // vocabulary, return_counts=True)
    seen = np.add.reduceat(times, np.searchsorted(runs // vocabulary, contexts))
    of_run, of_context = _looked_up(runs, times, judged), _looked_up(contexts, seen, judged // vocabulary)
    after = _looked_up(contexts, kinds, judged // vocabulary)
    with np.errstate(invalid="ignore"):
        likely: NDArray[np.float64] = (of_run + after * shorter) / (of_context + after)
    return np.where(after > 0, likely, shorter)


def _looked_up(keys: Ids, values: NDArray[Any], keys_wanted: Ids) -> NDArray[np.float64]:
    """The value of every wanted key; 0 where there is none."""
    places = np.minimum(np.searchsorted(keys, keys_wanted), len(keys) - 1)
    return np.where(keys[places] == keys_wanted, values[places], 0).astype(np.float64)
