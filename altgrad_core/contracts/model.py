"""A model plugin: options, and the `nn.Module` made of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from altgrad_core.contracts.options import Options

if TYPE_CHECKING:
    from torch import nn


class ModelSpec(Options):
    """The options of a model. A subclass sets `name`, declares its options and writes `build`.

    Attributes:
        block_size: the longest sequence the model takes; batches have this length.
    """

    block_size: PositiveInt = 128

    @abstractmethod
    def build(self, vocabulary: int) -> nn.Module:
        """A module from tokens, int64 of shape (batch, time), to logits, shape (batch, time, vocabulary).

        It is freshly initialized from torch's default generator, which the run has seeded.
        """
