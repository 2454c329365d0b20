"""Token streams: from a text or an array of tokens to a training and a validation split, with the facts of both."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tiktoken import Encoding

from altgrad_core import ManifestError, TokenData


def from_text(text: str, *, source: str, encoding: Encoding, validation_fraction: float) -> TokenData:
    """Both splits of a text; the facts hash its UTF-8 bytes."""
    raw = text.encode()
    facts = {"source": source, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    tokens = np.array(encoding.encode_ordinary(text), dtype=smallest_dtype(encoding.n_vocab))
    return split(tokens, vocabulary=encoding.n_vocab, validation_fraction=validation_fraction, facts=facts)


def split(
    tokens: NDArray[Any], *, vocabulary: int, validation_fraction: float, facts: dict[str, Any] | None = None
) -> TokenData:
    """Hold out the last `validation_fraction` of the tokens, at least one of them.

    Raises:
        ManifestError: one of the two splits would be empty.
    """
    cut = len(tokens) - max(1, round(validation_fraction * len(tokens)))
    if cut < 1:
        raise ManifestError(
            f"data.validation_fraction: holding out {validation_fraction} of {len(tokens)} tokens leaves none to train "
            "on; give more text or a smaller fraction"
        )
    train, validation = tokens[:cut], tokens[cut:]
    measured = {"tokens": len(tokens), "unigram_entropy": unigram_entropy(train)}
    return TokenData(train=train, validation=validation, vocabulary=vocabulary, facts={**(facts or {}), **measured})


def unigram_entropy(tokens: NDArray[Any]) -> float:
    """Entropy of the token frequencies in nats: the loss of a model that knows them and nothing else."""
    counts = np.bincount(tokens)
    shares = counts[counts > 0] / len(tokens)
    return float(-(shares * np.log(shares)).sum()) + 0.0  # + 0.0: one token alone gives 0, not -0


def smallest_dtype(vocabulary: int) -> np.dtype[Any]:
    """The smallest unsigned integers that hold every token."""
    return np.min_scalar_type(vocabulary - 1)
