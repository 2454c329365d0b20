"""Tokenizers of Hugging Face: the `tokenizer.json` that `save_pretrained` writes beside a model."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from altgrad_core import ManifestError
from altgrad_text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Engine

FILE = "tokenizer.json"
MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class JsonTokenizer(Tokenizer):
    """A tokenizer of the package tokenizers.

    Attributes:
        engine: that of the package.
    """

    engine: Engine

    @property
    def vocabulary(self) -> int:
        """Added tokens included; numbers that no token has count too."""
        return max(self.engine.get_vocab(with_added_tokens=True).values()) + 1

    def tokens(self, text: str) -> NDArray[Any]:
        """The tokens of a text, without those that stand around a sequence."""
        return np.array(self.engine.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def separator(self, text: str) -> NDArray[Any]:
        """As any text: special tokens are known to the engine."""
        return self.tokens(text)


def read_json_tokenizer(path: Path) -> JsonTokenizer:
    """The tokenizer of a file, or of the `tokenizer.json` in a directory.

    Raises:
        ManifestError: there is none, it is damaged, or the package is missing.
    """
    try:
        from tokenizers import Tokenizer as Engine
    except ImportError:
        raise ManifestError(
            'data.tokenizer: a tokenizer.json needs the package tokenizers: pip install "altgrad[transformers]"'
        ) from None
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ManifestError(
            f"data.tokenizer: no file {file}; expected a {FILE}, or a directory of a model that has one. A path is relative "
            "to the manifest"
        )
    try:
        if (size := file.stat().st_size) > MOST_BYTES:
            raise ManifestError(f"data.tokenizer: {file} has {size:,} bytes, expected {MOST_BYTES:,} at most")
        raw = file.read_bytes()
    except OSError as error:
        raise ManifestError(f"data.tokenizer: cannot read {file}: {error.strerror}") from None
    digest = hashlib.sha256(raw).hexdigest()
    try:
        engine = Engine.from_buffer(raw)
    except Exception as error:  # the package raises nothing narrower
        raise ManifestError(f"data.tokenizer: {file} is not a tokenizer: {error}") from None
    engine.no_truncation()
    engine.no_padding()
    if not engine.get_vocab(with_added_tokens=True):
        raise ManifestError(f"data.tokenizer: {file} has no tokens")
    return JsonTokenizer(digest, {"tokenizer": {"name": f"huggingface:{path.name}", "sha256": digest}}, engine)
