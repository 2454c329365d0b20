"""The laws of a data set."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from altgrad_core.contracts.dataset import DatasetSpec, TokenData
from altgrad_core.testing.laws import Law, check_laws
from altgrad_core.testing.options import OPTION_LAWS, made, title
from altgrad_core.testing.tiny import changed, generators


def check_dataset(dataset: type[DatasetSpec] | DatasetSpec, **options: Any) -> None:
    """Try every law of a data set; as long as building it twice.

    Args:
        dataset: the spec's class, or an instance of it.
        options: those it is made with.

    Raises:
        AssertionError: the first law that is broken, and what came.
    """
    spec = made(dataset, options, kind="dataset")
    who = title(spec, "dataset")
    check_laws(who, OPTION_LAWS, spec)
    before = generators()
    pair = (spec.build(), spec.build())
    if moved := changed(before, generators()):
        raise AssertionError(f"{who}, law: Building it moves no shared random generator. It moved {moved[0]}.")
    check_laws(who, LAWS, pair)


Pair = tuple[TokenData, TokenData]
"""What two calls of `build` gave."""


def build_gives_token_data(pair: Pair) -> Iterator[str]:
    """build returns TokenData, with a vocabulary of at least two tokens."""
    data = pair[0]
    if not isinstance(data, TokenData):
        yield f"It returned {type(data).__name__}."
    elif isinstance(data.vocabulary, bool) or not isinstance(data.vocabulary, int) or data.vocabulary < 2:
        yield f"The vocabulary was {data.vocabulary!r}."


def splits_are_token_streams(pair: Pair) -> Iterator[str]:
    """Both splits are numpy arrays of integers, of one dimension, not empty, with values from 0 to vocabulary - 1."""
    for name, tokens in _splits(pair[0]):
        if not isinstance(tokens, np.ndarray) or tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            kind = (
                f"{tokens.dtype} of shape {tokens.shape}" if isinstance(tokens, np.ndarray) else type(tokens).__name__
            )
            yield f"The {name} split was {kind}."
        elif not len(tokens):
            yield f"The {name} split was empty."
        elif int(tokens.min()) < 0 or int(tokens.max()) >= pair[0].vocabulary:
            spread = f"from {tokens.min()} to {tokens.max()}"
            yield f"The {name} split had values {spread}, with a vocabulary of {pair[0].vocabulary}."


def the_same_again(pair: Pair) -> Iterator[str]:
    """The same options give the same tokens and the same facts."""
    once, again = pair
    for (name, first), (_, second) in zip(_splits(once), _splits(again), strict=True):
        if not np.array_equal(first, second):
            yield f"The {name} split was another the second time."
    if (once.vocabulary, once.facts) != (again.vocabulary, again.facts):
        yield f"It came with {once.vocabulary}, {once.facts}, then with {again.vocabulary}, {again.facts}."


def facts_are_json(pair: Pair) -> Iterator[str]:
    """facts are plain JSON data without NaN; loss_floor, where it is known, lies between 0 and ln(vocabulary)."""
    facts = pair[0].facts
    try:
        same = json.loads(json.dumps(facts, allow_nan=False)) == facts
    except (TypeError, ValueError) as error:
        yield f"{error}: {facts!r}."
        return
    if not same:
        yield f"Read back they differ: {facts!r}."
    floor = facts.get("loss_floor", 0.0)
    if not isinstance(floor, int | float) or not 0 <= floor <= math.log(pair[0].vocabulary):
        yield f"loss_floor was {floor!r}."


LAWS: tuple[Law, ...] = (build_gives_token_data, splits_are_token_streams, the_same_again, facts_are_json)


def _splits(data: TokenData) -> list[tuple[str, Any]]:
    return [("train", data.train), ("validation", data.validation)]
