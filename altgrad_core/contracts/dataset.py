"""A data set plugin: options, and the token streams made of them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from altgrad_core.contracts.options import Options

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TokenData:
    """Two streams of tokens.

    Attributes:
        train, validation: integer arrays of shape (tokens,), values from 0 to vocabulary - 1; memory maps are welcome.
        vocabulary: the number of distinct tokens.
        facts: plain data recorded with the run: hashes, sizes, and `loss_floor` (nats per token) where it is known.
    """

    train: np.ndarray[Any, Any]
    validation: np.ndarray[Any, Any]
    vocabulary: int
    facts: dict[str, Any] = field(default_factory=dict)


class DatasetSpec(Options):
    """The options of a data set. A subclass sets `name`, declares its options and writes `build`."""

    @abstractmethod
    def build(self) -> TokenData:
        """The tokens. The same options give the same tokens, on every machine that has the same source.

        Raises:
            ManifestError: the source is missing, empty or unreadable; say which, and what to try.
        """
