"""Patterns of layer paths, as recipes, monitors and interventions write them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache


@lru_cache(maxsize=1 << 14)
def matches(pattern: str, path: str) -> bool:
    """Whether a layer path such as `blocks.0.attn` matches an `fnmatch` pattern, `|` separating alternatives."""
    return any(fnmatchcase(path, part.strip()) for part in pattern.split("|"))
