"""Losses of byte n-grams on the validation blocks of the studies: floors that say how little a model has learned.

    python docs/results/ngrams.py MANIFEST > docs/results/factorial/tables/ngrams.csv

Counts are of the whole training text, and of as much of it as 250 and 1000 steps read.

p(c | h) = (N(h, c) + T(h) p(c | h')) / (N(h) + T(h)), where h' is h without its first byte, N counts, and T(h) is the
number of different bytes after h; below unigrams all bytes are alike (Witten and Bell, 1991, interpolated). There is
nothing to tune. Bytes of a block are predicted from those before them in the block, as a model does; the first ones have
less to go by.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import fsum, log
from pathlib import Path

ORDERS = {1: "unigram", 2: "bigram", 3: "trigram"}


class NGrams:
    """Counts of the n-grams of a text up to an order.

    Args:
        vocabulary: how many different tokens there can be.
    """

    def __init__(self, tokens: Sequence[int], order: int, vocabulary: int) -> None:
        self.order, self.vocabulary = order, vocabulary
        self.after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for length in range(order):
            for place in range(length, len(tokens)):
                self.after[tuple(tokens[place - length : place])][tokens[place]] += 1
        self.totals = {history: counts.total() for history, counts in self.after.items()}

    def probability(self, token: int, history: tuple[int, ...]) -> float:
        """Of a token after those before it; at most the last `order` - 1 count."""
        history = history[-(self.order - 1) :] if self.order > 1 else ()
        lower = self.probability(token, history[1:]) if history else 1 / self.vocabulary
        if (counts := self.after.get(history)) is None:
            return lower
        return (counts[token] + len(counts) * lower) / (self.totals[history] + len(counts))

    def loss(self, blocks: Sequence[tuple[Sequence[int], Sequence[int]]]) -> float:
        """Nats per token over pairs of inputs and the tokens after them."""
        losses = [
            -log(self.probability(token, tuple(inputs[max(0, place + 2 - self.order) : place + 1])))
            for inputs, targets in blocks
            for place, token in enumerate(targets)
        ]
        return fsum(losses) / len(losses)


def main(manifest: Path) -> None:
    """Print the losses as CSV."""
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.registry.registry import installed
    from altgrad_core.running.assembly.resolve import resolve
    from altgrad_core.running.data.batches import Batches

    resolved = resolve(load_manifest(manifest), installed())
    data, table = resolved.data.build(), resolved.manifest.data
    batches = Batches(data, block_size=resolved.model.block_size, batch_size=table.batch_size, accumulate=1, seed=0)
    pairs = batches.validation(resolved.manifest.run.evaluate_batches)
    blocks = [pair for inputs, targets in pairs for pair in zip(inputs.tolist(), targets.tolist(), strict=True)]
    print("model,training_tokens,validation_tokens,loss")
    lengths = [steps * batches.tokens_per_step for steps in (250, 1000)]
    for length in (*lengths, len(data.train)):
        for order, name in ORDERS.items():
            loss = NGrams(data.train[:length].tolist(), order, data.vocabulary).loss(blocks)
            print(f"{name},{length},{sum(len(targets) for _, targets in blocks)},{loss!r}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
