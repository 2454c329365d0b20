"""A small GPT on the prose of Python, quantized in its blocks, trained step by step by the optimizer it is given."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from altgrad_nanogpt import NanoGPT
from altgrad_text import PythonDocs
from torch.nn.functional import cross_entropy

import altgrad_core as ag

BATCH, LENGTH = 8, 64
VALIDATION = 32  # batches
Tokens = tuple[torch.Tensor, torch.Tensor]


@cache
def splits() -> tuple[np.ndarray, np.ndarray]:
    """The tokens to train on and those held out."""
    data = PythonDocs().build()
    return data.train, data.validation


def batch(tokens: np.ndarray, random: np.random.Generator) -> Tokens:
    """Inputs and targets, int64 of shape (BATCH, LENGTH), from random places."""
    starts = random.integers(len(tokens) - LENGTH, size=BATCH)
    rows = torch.from_numpy(np.stack([tokens[s : s + LENGTH + 1] for s in starts]).astype(np.int64))
    return rows[:, :-1], rows[:, 1:]


def rule(format: str | None) -> ag.Rule:
    """The format under test for the weights alone; None leaves them as they are."""
    return ag.Rule(
        layers="blocks.*",
        weight=None if format is None else ag.Quantizer(ag.load_format(format)),
        activation=ag.Quantizer(ag.load_format("e4m3"), scaling="delayed"),
        gradient=ag.Quantizer(ag.load_format("e5m2"), rounding="stochastic"),
    )


class Training:
    """A model, its plan and its optimizer, which comes without weight decay.

    Args:
        format: of the weights of its blocks.
        optimizer: the arguments of `build_optimizer`.
        seed: of the initial weights, the batches and the rounding.
    """

    def __init__(
        self, format: str | None, optimizer: dict[str, Any], *, seed: int, layers: int = 2, width: int = 64
    ) -> None:
        torch.manual_seed(seed)
        self.random = np.random.default_rng(seed)
        self.model = NanoGPT(n_layer=layers, n_head=4, n_embd=width, block_size=LENGTH).build(256)
        self.plan = ag.quantize_model(self.model, [rule(format)], seed=seed)
        self.optimizer = ag.build_optimizer(params=self.plan.params(), **optimizer)
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.0

    def loss(self, tokens: Tokens) -> torch.Tensor:
        """Cross-entropy in nats."""
        return cross_entropy(self.model(tokens[0]).flatten(0, 1), tokens[1].flatten())

    def backward(self) -> float:
        """The gradients of the next batch, clipped; its loss."""
        loss = self.loss(batch(splits()[0], self.random))
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        return loss.item()

    def update(self, factor: float) -> None:
        """A step at so much of the rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.optimizer.step()
        self.plan.step()

    @torch.no_grad()
    def validation(self) -> float:
        """The mean loss over batches that are the same in every run."""
        self.model.eval()
        random = np.random.default_rng(0)
        return sum(self.loss(batch(splits()[1], random)).item() for _ in range(VALIDATION)) / VALIDATION
