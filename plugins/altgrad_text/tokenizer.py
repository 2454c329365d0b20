"""What a tokenizer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Tokenizer(ABC):
    """A way to make tokens of text.

    Attributes:
        digest: SHA-256 in hexadecimal of all that decides what it gives.
        facts: what is recorded of it.
    """

    digest: str
    facts: dict[str, Any]

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """How many tokens there are."""

    @abstractmethod
    def tokens(self, text: str) -> NDArray[Any]:
        """The tokens of a text."""

    @abstractmethod
    def separator(self, text: str) -> NDArray[Any]:
        """The tokens of a text between two documents; the one token, where the tokenizer has it as a special one."""
