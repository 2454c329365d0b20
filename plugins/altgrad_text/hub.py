"""A data set of the Hugging Face hub, downloaded because the manifest asks for it, or taken from its cache."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad_core import ManifestError
from altgrad_text.corpus import Corpus
from altgrad_text.data_files import AT_ONCE, Rows

PATIENCE = 5  # seconds


@dataclass(frozen=True)
class OnTheHub:
    """What to load: the name of a repository, and which part of it."""

    path: str
    config: str | None
    revision: str | None


def hub_corpus(source: OnTheHub, *, split: str, rows: Rows) -> Corpus:
    """The rows of one split.

    Raises:
        ManifestError: the library is missing, the hub cannot be reached, or has no such data set, split or column.
    """
    data = _load(source, split=split)
    rows.check_column(data.column_names, source=source.path)

    def read() -> Iterator[str]:
        return rows.texts(_Column(data, rows.column), where="data.split", source=source.path)

    digest, result = hashlib.sha256(repr(rows).encode()), False
    for text in read():
        digest.update(f"{len(text)} ".encode() + text.encode())
        result = True
    if not result:
        raise ManifestError(f'data.split: there is no row with text in "{split}" of {source.path}')
    part = ", ".join(name for name in (source.config, split) if name)
    return Corpus(f"{source.path} ({part})", digest.hexdigest(), read, rows.separator)


class _Column:
    """The values of a column, read in batches; again each time."""

    def __init__(self, data: Any, name: str) -> None:
        self._data, self._name = data.select_columns([name]), name

    def __iter__(self) -> Iterator[Any]:
        for batch in self._data.iter(batch_size=AT_ONCE):
            yield from batch[self._name]


def _load(source: OnTheHub, *, split: str) -> Any:
    try:
        from datasets import config, load_dataset
    except ImportError:
        raise ManifestError('data.use: huggingface needs a package: pip install "altgrad[datasets]"') from None
    if Path(source.path).exists():
        raise ManifestError(
            f'data.path: "{source.path}" is a folder or file here, and path is a name on the hub; name your files: '
            f'files = ["{source.path}/*.parquet"]'
        )
    revision = source.revision if config.HF_HUB_OFFLINE else _revision(source)
    try:
        return load_dataset(source.path, source.config, split=split, revision=revision)
    except Exception as error:  # of many kinds; each says in its first line what is wrong
        message = str(error).strip().split("\n", 1)[0]
        offline = "; HF_HUB_OFFLINE is set, and it is not in the cache" if config.HF_HUB_OFFLINE else ""
        raise ManifestError(f"data.path: cannot load {source.path}: {message}{offline}; {_OTHERWISE}") from None


def _revision(source: OnTheHub) -> str:
    """The commit that `revision` names now, after one short question, where the library would ask for half a minute."""
    from datasets import config
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        result = HfApi().dataset_info(source.path, revision=source.revision, timeout=PATIENCE)
    except (HfHubHTTPError, HFValidationError) as error:
        message = " ".join(str(error).split())[:300]
        raise ManifestError(
            f"data.path: the hub does not give {source.path}: {message}; check the name, or hf auth login"
        ) from None
    except Exception as error:
        message = type(error).__name__
        raise ManifestError(
            f"data.path: cannot reach {config.HF_ENDPOINT} for {source.path} ({message}); if it is in the cache, set "
            f"HF_HUB_OFFLINE=1; {_OTHERWISE}"
        ) from None
    print(f"altgrad: loading {source.path} at {result.sha} into {config.HF_DATASETS_CACHE}", file=sys.stderr)
    return str(result.sha)


_OTHERWISE = "or download its parquet files elsewhere and name them with files = [...]"
