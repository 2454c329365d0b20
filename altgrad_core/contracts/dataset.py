"""A data set plugin: options, and the token streams or examples made of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core.contracts.options import Options
from altgrad_core.contracts.task import NextToken, Task
from altgrad_core.errors import ManifestError

if TYPE_CHECKING:
    import numpy as np

# That of GPT-2 (Radford et al. 2019). Engines for regular expressions agree on it; shorter ones, such as `\s++$`, mean
# different things to different engines.
_PIECES = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


@dataclass(frozen=True)
class TokenData:
    """Two streams of tokens.

    Attributes:
        train, validation: integer arrays of shape (tokens,), values from 0 to vocabulary - 1; memory maps are welcome.
        vocabulary: the number of distinct tokens.
        facts: plain data recorded with the run: hashes, sizes, and where they are known `loss_floor` (nats per token) and
            `reference_losses`, by name the losses of simple predictors on the validation split, which reports draw as lines.
    """

    train: np.ndarray[Any, Any]
    validation: np.ndarray[Any, Any]
    vocabulary: int
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """Predict every next token."""
        return NextToken(self.vocabulary)


@dataclass(frozen=True)
class Examples:
    """Examples of one split.

    Attributes:
        inputs: shape (examples, ...): float32 numbers, or integer tokens of shape (examples, time).
        targets: what the task expects, shape (examples,) or (examples, outputs).
    """

    inputs: np.ndarray[Any, Any]
    targets: np.ndarray[Any, Any]


@dataclass(frozen=True)
class ExampleData:
    """Examples with targets, in two splits: what is not a stream of tokens.

    Attributes:
        train, validation: the examples.
        task: what is predicted of them.
        vocabulary: the number of distinct tokens, where inputs are tokens.
        padding: the token that fills short inputs up, where there is one.
        facts: plain data recorded with the run.
    """

    train: Examples
    validation: Examples
    task: Task
    vocabulary: int | None = None
    padding: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> DataShape:
        """What a model of these data takes and gives."""
        return DataShape(self.train.inputs.shape[1:], self.task.outputs, self.vocabulary, self.padding)


@dataclass(frozen=True)
class DataShape:
    """What a model takes and gives.

    Attributes:
        inputs: the shape of one example: (time,) where inputs are tokens.
        outputs: the last dimension of what it returns, (batch, outputs).
        vocabulary: the number of distinct tokens; None where inputs are numbers.
        padding: the token that fills short inputs up, where there is one.
    """

    inputs: tuple[int, ...]
    outputs: int
    vocabulary: int | None = None
    padding: int | None = None


class DatasetSpec(Options):
    """The options of a data set. A subclass sets `name`, declares its options and writes `build`, and `texts` for text.

    Attributes:
        pieces: the pattern of the pieces within which byte pairs are merged, the same where they are learned and used.
    """

    pieces: ClassVar[str] = _PIECES

    @abstractmethod
    def build(self) -> TokenData | ExampleData:
        """The data. The same options give the same data, on every machine that has the same source.

        Raises:
            ManifestError: the source is missing, empty or unreadable; say which, and what to try.
        """

    def texts(self) -> Iterator[str]:
        """The text of the training split, in parts: what a tokenizer learns its vocabulary from.

        Raises:
            ManifestError: it is not made of text, as here, or the text cannot be read.
        """
        raise ManifestError(f'data.use: "{self.name}" is not made of text, from which a tokenizer could learn')
