"""Token streams: from a text or an array of tokens to a training and a validation split, with the facts of both."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from altgrad_core import ManifestError, TokenData
from altgrad_text.cache import Encoded, kept
from altgrad_text.corpus import Corpus
from altgrad_text.ngrams import table_losses
from altgrad_text.tokenizer import Tokenizer

AT_ONCE = 1 << 24  # tokens that are counted together; counting takes 8 bytes for each


def from_corpus(
    corpus: Corpus, tokenizer: Tokenizer, *, validation_fraction: float, validation: Corpus | None = None
) -> TokenData:
    """Both splits of a corpus; the facts hash its UTF-8 bytes. `validation` takes the place of its last part."""
    encoded = encode(corpus, tokenizer)
    facts = {"source": corpus.source, **encoded.facts, **tokenizer.facts}
    vocabulary = tokenizer.vocabulary
    if validation is None:
        return split(encoded.tokens, vocabulary=vocabulary, validation_fraction=validation_fraction, facts=facts)
    held_out = encode(validation, tokenizer)
    facts["validation"] = {"source": validation.source, **held_out.facts}
    return _with_measures(encoded.tokens, held_out.tokens, vocabulary=vocabulary, facts=facts)


def encode(corpus: Corpus, tokenizer: Tokenizer) -> Encoded:
    """The tokens of a corpus, from the cache where they are there; documents are encoded one by one."""
    key = hashlib.sha256(f"{corpus.digest} {tokenizer.digest}".encode()).hexdigest()
    return kept(key, lambda: _encode(corpus, tokenizer))


def _encode(corpus: Corpus, tokenizer: Tokenizer) -> Encoded:
    dtype = smallest_dtype(tokenizer.vocabulary)
    between, raw_between = tokenizer.separator(corpus.separator).astype(dtype), corpus.separator.encode()
    parts: list[NDArray[Any]] = []
    digest, size = hashlib.sha256(), 0
    for document in corpus.read():
        raw = document.encode()
        if parts:
            parts.append(between)
            raw = raw_between + raw
        parts.append(tokenizer.tokens(document).astype(dtype))
        digest.update(raw)
        size += len(raw)
    documents = {"documents": (len(parts) + 1) // 2} if corpus.separator else {}
    facts = {"bytes": size, "sha256": digest.hexdigest(), **documents}
    return Encoded(np.concatenate(parts) if parts else np.zeros(0, dtype), facts)


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
    return _with_measures(tokens[:cut], tokens[cut:], vocabulary=vocabulary, facts=facts or {})


def _with_measures(
    train: NDArray[Any], validation: NDArray[Any], *, vocabulary: int, facts: dict[str, Any]
) -> TokenData:
    measured: dict[str, Any] = {"tokens": len(train) + len(validation), "unigram_entropy": unigram_entropy(train)}
    if tables := table_losses(train, validation, vocabulary=vocabulary):
        measured["reference_losses"] = {f"{name} table": loss for name, loss in tables.items()}
    return TokenData(train=train, validation=validation, vocabulary=vocabulary, facts={**facts, **measured})


def unigram_entropy(tokens: NDArray[Any]) -> float:
    """Entropy of the token frequencies in nats: the loss of a model that knows them and nothing else."""
    counts = np.zeros(int(tokens.max()) + 1, dtype=np.int64)
    for start in range(0, len(tokens), AT_ONCE):
        counts += np.bincount(tokens[start : start + AT_ONCE], minlength=len(counts))
    shares = counts[counts > 0] / len(tokens)
    return float(-(shares * np.log(shares)).sum()) + 0.0  # + 0.0: one token alone gives 0, not -0


def smallest_dtype(vocabulary: int) -> np.dtype[Any]:
    """The smallest unsigned integers that hold every token."""
    return np.min_scalar_type(vocabulary - 1)
