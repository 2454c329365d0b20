"""Counting how often in a row something held, by layer."""

from __future__ import annotations

from collections import Counter


def continued(streaks: Counter[str], layer: str, holds: bool, *, patience: int) -> bool:
    """Whether it has now held for `patience` readings in a row; once a streak."""
    streaks[layer] = streaks[layer] + 1 if holds else 0
    return streaks[layer] == patience
