"""Texts with labels, from parquet and JSON files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from altgrad_core import AnyOf, ExampleData, Examples, ManifestError
from altgrad_text.data_files import LIBRARY_READS, Rows, column
from altgrad_text.streams import smallest_dtype
from altgrad_text.text_files import matching_files
from altgrad_text.tokenizer import Tokenizer
from altgrad_text.tokenizers import tokenizer

if TYPE_CHECKING:
    from altgrad_text import LabelledText


def labelled_text(options: LabelledText) -> ExampleData:
    """Both splits as tokens and labels.

    Raises:
        ManifestError: a file is missing or damaged, a row has no text, or a label is none.
    """
    chosen = tokenizer(options.tokenizer)
    digest = hashlib.sha256()
    train = _split(options, "files", chosen, digest)
    validation = _split(options, "validation_files", chosen, digest)
    padding = chosen.vocabulary
    facts = {
        "source": "labelled text",
        "examples": len(train.inputs) + len(validation.inputs),
        "sha256": digest.hexdigest(),
        "labels_per_text": float(train.targets.sum(1).mean()),
        **chosen.facts,
    }
    return ExampleData(train, validation, AnyOf(options.labels), padding + 1, padding, facts)


def _split(options: LabelledText, key: str, chosen: Tokenizer, digest: Any) -> Examples:
    padding = chosen.vocabulary
    tokens: list[Any] = []
    targets: list[Any] = []
    for where, text, labels in _rows(options, key):
        row = np.full(options.length, padding, smallest_dtype(padding + 1))
        result = chosen.tokens(text)[: options.length]
        row[: len(result)] = result
        has = np.zeros(options.labels, np.uint8)
        has[_numbers(labels, where, options)] = 1
        digest.update(row.tobytes() + has.tobytes())
        tokens.append(row)
        targets.append(has)
    if not tokens:
        raise ManifestError(f"data.{key}: there is no row with text")
    return Examples(np.stack(tokens), np.stack(targets))


def _rows(options: LabelledText, key: str) -> Iterator[tuple[str, str, Any]]:
    """For every row, its place, its text and its labels."""
    texts = Rows(options.text_column, "", skip_empty=False)
    labels = Rows(options.labels_column, "", skip_empty=False, key="data.labels_column")
    for index, path in enumerate(getattr(options, key)):
        where = f"data.{key}[{index}]"
        for file in matching_files(path, where=where):
            if file.suffix.lower() not in LIBRARY_READS:
                raise ManifestError(f"{where}: {file} is not a type of file with labels; expected {_kinds()}")
            pairs = zip(
                texts.texts(column(file, texts, where=where), where=where, source=file),
                column(file, labels, where=where),
                strict=True,
            )
            yield from ((f"{file}, row {row}", *pair) for row, pair in enumerate(pairs, start=1))


def _kinds() -> str:
    return " or ".join(LIBRARY_READS)


def _numbers(labels: Any, where: str, options: LabelledText) -> Sequence[int]:
    for label in labels if isinstance(labels, list) else [None]:
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < options.labels:
            came = json.dumps(labels, default=str)[:60]
            raise ManifestError(
                f"data.labels_column: {where}: expected a list of whole numbers from 0 to {options.labels - 1}, got {came}; "
                "name another column, or set data.labels to how many there are"
            )
    return list(labels)
