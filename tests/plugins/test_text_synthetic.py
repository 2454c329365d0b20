"""Synthetic tokens: the entropy that is their lowest loss, and their frequencies."""

import math

import numpy as np
import pytest
from altgrad_text import Synthetic
from altgrad_text.synthetic import entropy_rate, walk


@pytest.mark.parametrize(("vocabulary", "bits"), [(2, 1.0), (3, 1.5), (4, 1.75), (64, 2.0)])
def test_the_loss_floor_is_the_entropy_of_one_jump(vocabulary, bits):
    # vocabulary 4: jumps 0, 1, 2, 3 with probabilities 1/2, 1/4, 1/8, 1/8: 0.5 + 0.5 + 0.375 + 0.375 bits
    assert entropy_rate(vocabulary) == pytest.approx(bits * math.log(2), rel=1e-15)


@pytest.mark.parametrize("vocabulary", [2, 5, 64])
def test_the_measured_conditional_entropy_approaches_the_loss_floor(vocabulary):
    data = Synthetic(vocabulary=vocabulary, tokens=2_000_000).build()
    pairs = np.zeros((vocabulary, vocabulary))
    np.add.at(pairs, (data.train[:-1], data.train[1:]), 1)
    given_first = pairs / pairs.sum(axis=1, keepdims=True)
    logs = np.log(given_first, where=pairs > 0, out=np.zeros_like(pairs))
    measured = -(pairs / pairs.sum() * logs).sum()
    assert measured == pytest.approx(data.facts["loss_floor"], abs=0.005)


def test_jumps_have_the_probabilities_the_floor_is_computed_from():
    tokens = walk(4, tokens=1_000_000, seed=3).astype(int)
    shares = np.bincount(np.diff(tokens) % 4) / 999_999
    assert shares == pytest.approx([1 / 2, 1 / 4, 1 / 8, 1 / 8], abs=0.002)


def test_every_token_of_the_walk_is_equally_frequent():
    data = Synthetic(vocabulary=16, tokens=1_000_000).build()
    assert data.facts["unigram_entropy"] == pytest.approx(math.log(16), abs=1e-3)


def test_a_seed_gives_the_same_tokens_on_every_machine():
    assert walk(64, tokens=12, seed=0).tolist() == [31, 32, 32, 33, 35, 35, 42, 43, 49, 50, 50, 50]
    assert walk(64, tokens=12, seed=1).tolist() != walk(64, tokens=12, seed=0).tolist()


def test_synthetic_facts_and_shapes():
    data = Synthetic(vocabulary=300, tokens=1000, validation_fraction=0.25).build()
    assert (len(data.train), len(data.validation), data.vocabulary) == (750, 250, 300)
    assert data.train.dtype == np.uint16
    assert data.facts["source"] == "synthetic"
    assert data.facts["loss_floor"] == pytest.approx(2 * math.log(2))


def test_jumps_end_where_the_random_word_does():
    from altgrad_text.synthetic import _trailing_ones

    words = np.array([0, 1, 0b1011, 2**63 - 1, 2**64 - 1], dtype=np.uint64)
    assert _trailing_ones(words).tolist() == [0, 1, 2, 63, 64]
