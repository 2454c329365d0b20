"""Data sets that need no download: the prose of Python itself, text files, and a source of known entropy."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, NonNegativeInt

from altgrad_core import DatasetSpec, ManifestPath, TokenData, hookimpl

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Text(DatasetSpec):
    """Text as tokens; a subclass sets `name` and writes `read`.

    Attributes:
        tokenizer: how text becomes tokens; `bytes` gives its UTF-8 bytes.
        validation_fraction: the share of the tokens, taken from the end, that is held out.
    """

    tokenizer: str = "bytes"
    validation_fraction: Fraction = 0.1

    @abstractmethod
    def read(self) -> tuple[str, str]:
        """Where the text is from, in a few words, and the text."""

    def build(self) -> TokenData:
        """Read the text, turn it into tokens and hold out the last part of them."""
        from altgrad_text.streams import from_text
        from altgrad_text.tokenizers import tokenizer

        encoding = tokenizer(self.tokenizer)  # before the text, which takes longer
        source, text = self.read()
        return from_text(text, source=source, encoding=encoding, validation_fraction=self.validation_fraction)


class PythonDocs(Text):
    """The reference prose and docstrings every Python carries, about 3 MB; no download."""

    name: ClassVar = "python-docs"

    def read(self) -> tuple[str, str]:
        """The text of the Python this runs on; another version of Python carries slightly different text."""
        from altgrad_text.python_docs import read_python_docs

        return read_python_docs()


class TextFiles(Text):
    """Your own text: UTF-8 files, named one by one or by patterns.

    Attributes:
        paths: files or patterns such as `books/*.txt` and `**/*.md`, relative to the manifest; read in this order.
    """

    name: ClassVar = "text-files"
    paths: Annotated[list[ManifestPath], Field(min_length=1)]

    def read(self) -> tuple[str, str]:
        """The files, one after the other."""
        from altgrad_text.text_files import read_text_files

        return read_text_files(self.paths)


class Synthetic(DatasetSpec):
    """Random steps around a circle of tokens; the lowest loss any model can reach is known exactly.

    Attributes:
        vocabulary: the number of distinct tokens.
        tokens: the length of both splits together.
        seed: which sequence; not the seed of the run, so that runs of different seeds share their data.
        validation_fraction: the share of the tokens, taken from the end, that is held out.
    """

    name: ClassVar = "synthetic"
    vocabulary: Annotated[int, Field(ge=2, le=2**16)] = 64
    tokens: Annotated[int, Field(ge=2)] = 200_000
    seed: NonNegativeInt = 0
    validation_fraction: Fraction = 0.1

    def build(self) -> TokenData:
        """Draw the tokens; `facts["loss_floor"]` is the entropy rate of the source, in nats per token."""
        from altgrad_text.streams import split
        from altgrad_text.synthetic import entropy_rate, walk

        return split(
            walk(self.vocabulary, tokens=self.tokens, seed=self.seed),
            vocabulary=self.vocabulary,
            validation_fraction=self.validation_fraction,
            facts={"source": "synthetic", "loss_floor": entropy_rate(self.vocabulary)},
        )


@hookimpl
def altgrad_datasets() -> Iterator[type[DatasetSpec]]:
    """The data sets of this package."""
    yield PythonDocs
    yield TextFiles
    yield Synthetic
