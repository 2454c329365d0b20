"""Losses of tables of counts, against a table that is counted one token at a time in exact fractions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest
from altgrad_text.ngrams import NAMES, table_losses
from altgrad_text.streams import split
from altgrad_text.synthetic import entropy_rate, walk
from hypothesis import given
from hypothesis import strategies as st


class Table:
    """p(w | h) by the definition of Witten and Bell."""

    def __init__(self, tokens: list[int], vocabulary: int) -> None:
        self.vocabulary, self.after = vocabulary, defaultdict[tuple[int, ...], Counter[int]](Counter)
        for last in range(len(NAMES) - 1, len(tokens)):
            for length in range(len(NAMES)):
                self.after[tuple(tokens[last - length : last])][tokens[last]] += 1

    def likely(self, token: int, context: tuple[int, ...]) -> Fraction:
        shorter = self.likely(token, context[1:]) if context else Fraction(1, self.vocabulary)
        seen = self.after[context]
        if not seen:
            return shorter
        return (seen[token] + len(seen) * shorter) / (seen.total() + len(seen))


@given(
    st.integers(1, 5).flatmap(
        lambda most: st.tuples(
            st.lists(st.integers(0, most), min_size=3, max_size=40),
            st.lists(st.integers(0, most), min_size=3, max_size=20),
            st.integers(most + 1, 9),
        )
    )
)
def test_the_losses_are_those_of_the_definition(case: tuple[list[int], list[int], int]) -> None:
    train, validation, vocabulary = case
    table = Table(train, vocabulary)
    found = table_losses(np.array(train, np.uint8), np.array(validation, np.uint8), vocabulary=vocabulary)
    assert tuple(found) == NAMES
    for length, name in enumerate(NAMES):
        places = range(len(NAMES) - 1, len(validation))
        logs = [math.log(table.likely(validation[i], tuple(validation[i - length : i]))) for i in places]
        assert found[name] == pytest.approx(-sum(logs) / len(logs), abs=2e-6)


def test_probabilities_add_up_to_one() -> None:
    table = Table([0, 1, 2, 0, 1, 1, 2, 2, 0], 4)
    for context in [(), (0,), (3,), (0, 1), (2, 3)]:
        assert sum(table.likely(token, context) for token in range(4)) == 1


def test_on_a_chain_a_longer_table_comes_near_the_lowest_loss_there_is() -> None:
    losses = split(walk(16, tokens=60_000, seed=1), vocabulary=16, validation_fraction=0.1).facts["reference_losses"]
    unigram, bigram, trigram = losses.values()
    assert unigram == pytest.approx(math.log(16), abs=0.01)
    assert min(bigram, trigram) == pytest.approx(entropy_rate(16), abs=0.03)


@pytest.mark.parametrize("vocabulary", [2**16, 2**31 - 1])
def test_large_vocabularies_and_short_texts(vocabulary: int) -> None:
    tokens = np.array([vocabulary - 1, 0, 5, vocabulary - 1, 0], np.int64)
    found = table_losses(tokens, tokens, vocabulary=vocabulary)
    assert list(found) == list(NAMES[: 3 if vocabulary**3 < 2**62 else 2])
    assert all(math.isfinite(loss) and loss > 0 for loss in found.values())
    assert table_losses(tokens[:2], tokens, vocabulary=vocabulary) == {}
