"""Rows of text from parquet and JSON files, read by the `datasets` library without a copy on disk and without a network."""

from __future__ import annotations

import difflib
import glob
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from altgrad_core import ManifestError
from altgrad_text.corpus import Corpus
from altgrad_text.text_files import matching_files, read_text

LIBRARY_READS = {".parquet": "parquet", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
TEXT = ".txt"
AT_ONCE = 1000


@dataclass(frozen=True)
class Rows:
    """How rows become documents: the column, what stands between two of them, and whether empty ones are left out."""

    column: str
    separator: str
    skip_empty: bool
    key: str = field(default="data.text_column", repr=False)

    def texts(self, values: Iterable[Any], *, where: str, source: object) -> Iterator[str]:
        """The texts of a column, checked.

        Raises:
            ManifestError: a value is not text, or is missing.
        """
        for row, value in enumerate(values, start=1):
            if value is not None and not isinstance(value, str):
                came = json.dumps(value, default=str)[:60]
                raise ManifestError(
                    f'data.text_column: the column "{self.column}" of {source} holds no text but {type(value).__name__}, '
                    f"such as {came} in row {row}; name another column"
                )
            if value is not None and value.strip():
                yield value
            elif not self.skip_empty:
                raise ManifestError(
                    f'{where}: row {row} of {source} has {"no" if value is None else "empty"} text in "{self.column}"; '
                    "skip_empty = true leaves such rows out"
                )

    def check_column(self, columns: Sequence[str], *, source: object) -> None:
        """Refuse a column that is not there.

        Raises:
            ManifestError: the name is not one of `columns`.
        """
        if self.column not in columns:
            near = difflib.get_close_matches(self.column, columns, n=1)
            guess = f'did you mean "{near[0]}"? It has: ' if near else "it has: "
            raise ManifestError(
                f'{self.key}: {source} has no column "{self.column}"; {guess}{", ".join(columns) or "none"}'
            )


def file_corpus(paths: Sequence[Path], *, key: str, rows: Rows) -> Corpus:
    """The rows of parquet, JSON and text files, in the order of `paths`; a text file is one row.

    Args:
        paths: absolute files or patterns.
        key: the key of the manifest that has them, such as `data.files`.

    Raises:
        ManifestError: a file is missing, unreadable or of another kind.
    """
    files = {file: f"{key}[{i}]" for i, path in enumerate(paths) for file in matching_files(path, where=f"{key}[{i}]")}
    for file, where in files.items():
        if file.suffix.lower() not in {*LIBRARY_READS, TEXT}:
            kinds = ", ".join([*LIBRARY_READS, TEXT])
            raise ManifestError(f"{where}: {file} has an unknown type; its name must end in one of {kinds}")
    hashed = [(file.suffix.lower(), _sha256(file, where=where)) for file, where in files.items()]
    digest = hashlib.sha256(repr(("rows 1", rows, hashed)).encode()).hexdigest()
    return Corpus(", ".join(map(str, files)), digest, lambda: _documents(files, rows, key), rows.separator)


def _documents(files: dict[Path, str], rows: Rows, key: str) -> Iterator[str]:
    result = False
    for file, where in files.items():
        is_text = file.suffix.lower() == TEXT
        values = [read_text(file, where=where)] if is_text else column(file, rows, where=where)
        for text in rows.texts(values, where=where, source=file):
            result = True
            yield text
    if not result:
        raise ManifestError(f"{key}: there is no row with text in {', '.join(map(str, files))}")


def column(file: Path, rows: Rows, *, where: str) -> list[Any]:
    """A whole column of a file: stopping halfway would leave threads behind that abort the process when it ends."""
    if not file.stat().st_size:
        raise ManifestError(f"{where}: {file} is empty; remove it from the list or put rows in it")
    kind = LIBRARY_READS[file.suffix.lower()]
    options: dict[str, Any] = {}
    values: list[Any] = []
    with _refusing_what_is_damaged(file, where=where):
        from datasets import load_dataset

        if kind == "parquet":
            from pyarrow.parquet import ParquetFile

            file_ = ParquetFile(file)
            rows.check_column(file_.schema_arrow.names, source=file)
            if not file_.metadata.num_rows:  # on which the library stumbles
                return []
            options["columns"] = [rows.column]
        stream = load_dataset(kind, data_files=[glob.escape(str(file))], split="train", streaming=True, **options)
        for batch in stream.iter(batch_size=AT_ONCE):
            rows.check_column(list(batch), source=file)
            values += batch[rows.column]
    return values


@contextmanager
def _refusing_what_is_damaged(file: Path, *, where: str) -> Iterator[None]:
    """Whatever the library raises about a file becomes one message.

    It also logs, which is left out, and counts every load of local files on a server, which being offline prevents.

    Raises:
        ManifestError: the library is not installed, or cannot read the file.
    """
    try:
        from datasets import config
        from datasets.utils import logging
    except ImportError:
        raise ManifestError('data.use: huggingface needs a package: pip install "altgrad[datasets]"') from None
    before = logging.get_verbosity(), config.HF_HUB_OFFLINE
    logging.set_verbosity(logging.CRITICAL)
    config.HF_HUB_OFFLINE = True
    try:
        yield
    except ManifestError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:300]
        kind = file.suffix.lower().lstrip(".")
        raise ManifestError(
            f"{where}: cannot read {file} as {kind} ({message}); is it damaged, or of another kind?"
        ) from None
    finally:
        logging.set_verbosity(before[0])
        config.HF_HUB_OFFLINE = before[1]


def _sha256(file: Path, *, where: str) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ManifestError(f"{where}: cannot read {file}: {error.strerror}; check its permissions") from None
