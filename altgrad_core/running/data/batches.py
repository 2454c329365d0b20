"""Batches as a pure function of (seed, step): what a step sees depends on nothing that happened before."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from altgrad_core.contracts.dataset import TokenData
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.random import derive_key

Batch = tuple[Tensor, Tensor]


class Batches:
    """Blocks of tokens and of their successors, int64 of shape (batch_size, block_size) each.

    An epoch is a random permutation of the stream's non-overlapping blocks, begun at a random offset; sequences are
    numbered through all epochs, and step s takes the next batch_size * accumulate of them.
    """

    def __init__(self, data: TokenData, *, block_size: int, batch_size: int, accumulate: int, seed: int) -> None:
        for split, tokens in (("train", data.train), ("validation", data.validation)):
            if len(tokens) <= block_size:
                raise ManifestError(
                    f"the {split} split has {len(tokens)} tokens, shorter than one block of {block_size} tokens and "
                    "the token after it; give more text or a smaller model.block_size"
                )
        self._data, self._block, self._batch, self._seed = data, block_size, batch_size, seed
        self._accumulate = accumulate
        self.blocks = (len(data.train) - 1) // block_size

    @property
    def tokens_per_step(self) -> int:
        """Tokens predicted in one optimizer step."""
        return self._batch * self._block * self._accumulate

    def epoch(self, step: int) -> float:
        """Epochs passed after `step` optimizer steps."""
        return step * self._batch * self._accumulate / self.blocks

    def train(self, step: int, micro_batch: int) -> Batch:
        """The batch of one micro-batch of optimizer step `step`, counted from 1."""
        first = ((step - 1) * self._accumulate + micro_batch) * self._batch
        return self._blocks_at(self._data.train, [self._start(first + row) for row in range(self._batch)])

    def validation(self, count: int) -> list[Batch]:
        """At most `count` batches spread evenly over the validation split, always the same."""
        blocks = (len(self._data.validation) - 1) // self._block
        most = min(blocks, count * self._batch)
        starts = [int(index * blocks / most) * self._block for index in range(most)]
        rows = [starts[i : i + self._batch] for i in range(0, most, self._batch)]
        return [self._blocks_at(self._data.validation, row) for row in rows]

    def _start(self, sequence: int) -> int:
        epoch, place = divmod(sequence, self.blocks)
        offset, order = _epoch_order(
            self._seed, epoch, self.blocks, len(self._data.train) - 1 - self.blocks * self._block
        )
        return offset + int(order[place]) * self._block

    def _blocks_at(self, tokens: np.ndarray, starts: list[int]) -> Batch:
        rows = np.stack([tokens[start : start + self._block + 1] for start in starts]).astype(np.int64)
        block = torch.from_numpy(rows)
        return block[:, :-1].contiguous(), block[:, 1:].contiguous()


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, blocks: int, slack: int) -> tuple[int, np.ndarray]:
    random = np.random.Generator(np.random.Philox(derive_key(seed, "data", epoch)))
    return int(random.integers(slack + 1)), random.permutation(blocks)
