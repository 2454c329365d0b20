"""Data sets: the prose of Python itself, text files, a source of known entropy, and those of the Hugging Face hub."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field, NonNegativeInt, TypeAdapter, ValidationInfo, model_validator

from altgrad_core import DatasetSpec, ExampleData, ManifestPath, TokenData, hookimpl

if TYPE_CHECKING:
    from altgrad_text.corpus import Corpus

Fraction = Annotated[float, Field(gt=0, lt=1)]


def _with_absolute_path(name: str, info: ValidationInfo) -> str:
    """`ranks:FILE`, a FILE that ends in .tiktoken, or `huggingface:PATH`, with the path relative to the manifest."""
    kind, _, which = name.partition(":")
    if kind not in ("ranks", "huggingface") or not which:
        if not name.endswith(".tiktoken"):
            return name
        kind, which = "ranks", name
    return f"{kind}:{TypeAdapter(ManifestPath).validate_python(Path(which), context=info.context)}"


class Text(DatasetSpec):
    """Text as tokens; a subclass sets `name` and writes `corpus`.

    Attributes:
        tokenizer: how text becomes tokens: `bytes` gives its UTF-8 bytes; `tiktoken:gpt2` and others what tiktoken
            gives, from files that are on this machine; `ranks:FILE` what the ranks in a file of your own give; `huggingface:PATH`
            what a `tokenizer.json` gives, or the one in the directory of a model.
        validation_fraction: the share of the tokens, taken from the end, that is held out.
    """

    tokenizer: Annotated[str, AfterValidator(_with_absolute_path)] = "bytes"
    validation_fraction: Fraction = 0.1

    @abstractmethod
    def corpus(self) -> Corpus:
        """The text."""

    def held_out(self) -> Corpus | None:
        """The text of the validation split, where it is not the last part of the corpus."""
        return None

    def texts(self) -> Iterator[str]:
        """The corpus, but about as much of its end as is held out."""
        from altgrad_text.corpus import all_but_the_last

        return all_but_the_last(self.corpus(), 0.0 if self.held_out() else self.validation_fraction)

    def build(self) -> TokenData:
        """Read the text, turn it into tokens and hold out the last part of them."""
        from altgrad_text.streams import from_corpus
        from altgrad_text.tokenizers import tokenizer

        chosen = tokenizer(self.tokenizer)  # before the text, which takes longer
        return from_corpus(
            self.corpus(), chosen, validation_fraction=self.validation_fraction, validation=self.held_out()
        )


class PythonDocs(Text):
    """The prose and docstrings that come with Python, about 3 MB; no download."""

    name: ClassVar = "python-docs"

    def corpus(self) -> Corpus:
        """The text of the Python this runs on; another version of Python carries slightly different text."""
        from altgrad_text.corpus import one_text
        from altgrad_text.python_docs import read_python_docs

        return one_text(*read_python_docs())


class TextFiles(Text):
    """Your own text: UTF-8 files, named one by one or by patterns.

    Attributes:
        paths: files or patterns such as `books/*.txt` and `**/*.md`, relative to the manifest; read in this order.
    """

    name: ClassVar = "text-files"
    paths: Annotated[list[ManifestPath], Field(min_length=1)]

    def corpus(self) -> Corpus:
        """The files, one after the other."""
        from altgrad_text.corpus import one_text
        from altgrad_text.text_files import read_text_files

        return one_text(*read_text_files(self.paths))


class HuggingFace(Text):
    """Text from parquet, JSON or text files, or from the Hugging Face hub.

    Files are read where they are, without a network. A name on the hub is downloaded into the cache of Hugging Face,
    which says so; no code of a data set is ever run.

    Attributes:
        files: files or patterns, relative to the manifest; .parquet, .json, .jsonl, .ndjson, and .txt as one row each.
        validation_files: those that are held out, in place of a fraction.
        path: instead of files, the name of a data set on the hub, such as `owner/name`.
        config, revision: which part of it, and which version; the only one and the newest by default.
        split: which of its splits is trained on.
        validation_split: the one that is held out, in place of a fraction.
        text_column: the column that has the text.
        separator: the text between two rows; where the tokenizer has it as a special token, such as `<|endoftext|>`
            of `tiktoken:gpt2`, that token.
        skip_empty: leave rows without text out, which are refused otherwise.
    """

    name: ClassVar = "huggingface"
    files: list[ManifestPath] = []
    validation_files: list[ManifestPath] = []
    path: str | None = Field(default=None, min_length=1)
    config: str | None = None
    revision: str | None = None
    split: str = "train"
    validation_split: str | None = None
    text_column: str = "text"
    separator: str = "\n\n"
    skip_empty: bool = False

    @model_validator(mode="after")
    def _has_one_source(self) -> HuggingFace:
        if bool(self.files) == (self.path is not None):
            raise ValueError('expected either files = ["data/*.parquet"] or path = "owner/name"')
        of_other = ("config", "revision", "split", "validation_split") if self.files else ("validation_files",)
        names = [
            key for key in of_other if key in self.model_fields_set and getattr(self, key) not in (None, [], "train")
        ]
        if names:
            raise ValueError(f"{names[0]} does not go with {'files' if self.files else 'path'}; leave it out")
        return self

    def corpus(self) -> Corpus:
        """The rows that are trained on, in order."""
        return self._corpus("files", self.split)

    def held_out(self) -> Corpus | None:
        """The rows of `validation_files` or `validation_split`."""
        if not self.validation_files and self.validation_split is None:
            return None
        return self._corpus("validation_files", self.validation_split or "")

    def _corpus(self, key: str, split: str) -> Corpus:
        from altgrad_text.data_files import Rows, file_corpus
        from altgrad_text.hub import OnTheHub, hub_corpus

        rows = Rows(self.text_column, self.separator, self.skip_empty)
        if self.path is None:
            return file_corpus(getattr(self, key), key=f"data.{key}", rows=rows)
        return hub_corpus(OnTheHub(self.path, self.config, self.revision), split=split, rows=rows)


class LabelledText(DatasetSpec):
    """Texts with any number of labels, such as EurLex; a model predicts them.

    Attributes:
        files, validation_files: parquet or JSON files or patterns, relative to the manifest, each row a text.
        text_column, labels_column: the columns of the text, and of the list of its labels, whole numbers.
        labels: how many labels there are; numbers go from 0 to labels - 1.
        length: tokens of a text that are used: its first ones.
        tokenizer: as of text.
    """

    name: ClassVar = "labelled-text"
    files: Annotated[list[ManifestPath], Field(min_length=1)]
    validation_files: Annotated[list[ManifestPath], Field(min_length=1)]
    text_column: str = "text"
    labels_column: str = "labels"
    labels: Annotated[int, Field(ge=2)]
    length: Annotated[int, Field(ge=1)] = 128
    tokenizer: Annotated[str, AfterValidator(_with_absolute_path)] = "bytes"

    def build(self) -> ExampleData:
        """Tokens, (texts, length), short texts filled up, and for every label whether a text has it, (texts, labels)."""
        from altgrad_text.labelled import labelled_text

        return labelled_text(self)


class Synthetic(DatasetSpec):
    """A random walk on a circle of tokens, whose lowest possible loss is known.

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
    yield HuggingFace
    yield LabelledText
    yield Synthetic
