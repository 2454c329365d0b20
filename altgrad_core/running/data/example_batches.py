"""Batches of examples as a pure function of (seed, step)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from altgrad_core.contracts.dataset import ExampleData, Examples
from altgrad_core.errors import ManifestError
from altgrad_core.numerics.random import derive_key
from altgrad_core.running.data.batches import Batch


class ExampleBatches:
    """Inputs and targets of `batch_size` examples each.

    An epoch is a random permutation of the training examples; examples are numbered through all epochs, and step s takes
    the next batch_size * accumulate of them.
    """

    def __init__(self, data: ExampleData, *, batch_size: int, accumulate: int, seed: int) -> None:
        for split, examples in (("train", data.train), ("validation", data.validation)):
            if len(examples.inputs) < 1:
                raise ManifestError(f"the {split} split has no examples; give it some")
        self._data, self._batch, self._accumulate, self._seed = data, batch_size, accumulate, seed
        self.examples = len(data.train.inputs)

    @property
    def tokens_per_step(self) -> int:
        """Examples predicted in one optimizer step."""
        return self._batch * self._accumulate

    def epoch(self, step: int) -> float:
        """Epochs passed after `step` optimizer steps."""
        return step * self._batch * self._accumulate / self.examples

    def train(self, step: int, micro_batch: int) -> Batch:
        """The batch of one micro-batch of optimizer step `step`, counted from 1."""
        first = ((step - 1) * self._accumulate + micro_batch) * self._batch
        return rows_of(self._data.train, [self._example(first + row) for row in range(self._batch)])

    def validation(self, count: int) -> list[Batch]:
        """At most `count` batches spread evenly over the validation split, always the same."""
        examples = len(self._data.validation.inputs)
        most = min(examples, count * self._batch)
        chosen = [int(index * examples / most) for index in range(most)]
        return [rows_of(self._data.validation, chosen[i : i + self._batch]) for i in range(0, most, self._batch)]

    def _example(self, sequence: int) -> int:
        epoch, place = divmod(sequence, self.examples)
        return int(_order(self._seed, epoch, self.examples)[place])


def rows_of(examples: Examples, chosen: list[int]) -> Batch:
    """Some examples as tensors: inputs and targets, int64 where they are whole numbers, else float32."""
    inputs, targets = np.asarray(examples.inputs[chosen]), np.asarray(examples.targets[chosen])
    return _tensor(inputs), _tensor(targets)


def _tensor(values: np.ndarray) -> torch.Tensor:
    kind = np.int64 if values.dtype.kind in "iub" else np.float32
    return torch.from_numpy(np.ascontiguousarray(values, dtype=kind))


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, examples: int) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(derive_key(seed, "data", epoch)))
    return random.permutation(examples)
