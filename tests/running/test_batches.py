"""Batches are a pure function of (seed, step), and every epoch sees every block once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from altgrad_core import ManifestError, TokenData
from altgrad_core.running.data.batches import Batches


def batches(tokens: int = 101, *, seed: int = 1, batch_size: int = 2, accumulate: int = 1) -> Batches:
    data = TokenData(np.arange(tokens, dtype=np.uint16), np.arange(55, dtype=np.uint16), tokens)
    return Batches(data, block_size=10, batch_size=batch_size, accumulate=accumulate, seed=seed)


def test_targets_are_the_tokens_that_follow() -> None:
    tokens, targets = batches().train(1, 0)
    assert tokens.shape == targets.shape == (2, 10)
    assert torch.equal(tokens + 1, targets)


def test_the_same_step_gives_the_same_batch_in_any_order() -> None:
    forwards = [batches().train(step, 0)[0] for step in (1, 2, 30, 4)]
    one = batches()
    backwards = [one.train(step, 0)[0] for step in (4, 30, 2, 1)][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_an_epoch_sees_every_block_once() -> None:
    one = batches()
    starts = torch.cat([one.train(step, 0)[0][:, 0] for step in range(1, 6)])
    offset = int(starts.min())
    assert sorted(starts.tolist()) == [offset + 10 * k for k in range(10)]
    assert one.epoch(5) == 1.0


def test_epochs_and_seeds_differ_in_order() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        one = batches(seed=seed)
        return torch.cat([one.train(step, 0)[0][:, 0] for step in range(5 * epoch + 1, 5 * epoch + 6)]).tolist()

    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_micro_batches_are_the_parts_of_a_larger_batch() -> None:
    whole = batches(batch_size=4).train(3, 0)[0]
    parts = [batches(batch_size=2, accumulate=2).train(3, micro)[0] for micro in (0, 1)]
    assert torch.equal(whole, torch.cat(parts))


def test_validation_is_always_the_same_and_spread_over_the_split() -> None:
    (first, _), (second, _), (third, _) = batches().validation(8)
    assert torch.cat([first, second, third])[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert batches().validation(1)[0][0][:, 0].tolist() == [0, 20]


def test_a_split_shorter_than_a_block_is_refused() -> None:
    with pytest.raises(ManifestError) as caught:
        batches(10)
    assert str(caught.value) == (
        "the train split has 10 tokens, shorter than one block of 10 tokens and the token after it; "
        "give more text or a smaller model.block_size"
    )
