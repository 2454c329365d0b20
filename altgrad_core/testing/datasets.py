"""The laws of a data set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from altgrad_core.contracts.dataset import DatasetSpec, ExampleData, TokenData
from altgrad_core.errors import reason_of
from altgrad_core.running.data.example_batches import rows_of
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
    try:
        pair = (spec.build(), spec.build())
    except BaseException as error:
        raise AssertionError(
            f"{who}, law: build gives the data of its options. It raised {reason_of(error)}."
        ) from error
    if moved := changed(before, generators()):
        raise AssertionError(f"{who}, law: Building it moves no shared random generator. It moved {moved[0]}.")
    check_laws(who, LAWS, pair)


Pair = tuple[TokenData | ExampleData, TokenData | ExampleData]
"""What two calls of `build` gave."""


def build_gives_data(pair: Pair) -> Iterator[str]:
    """build returns TokenData or ExampleData, with a vocabulary of at least two tokens where there are tokens."""
    data = pair[0]
    if not isinstance(data, TokenData | ExampleData):
        yield f"It returned {type(data).__name__}."
    elif isinstance(data, ExampleData) and data.vocabulary is None:
        return
    elif isinstance(data.vocabulary, bool) or not isinstance(data.vocabulary, int) or data.vocabulary < 2:
        yield f"The vocabulary was {data.vocabulary!r}."


def splits_are_token_streams(pair: Pair) -> Iterator[str]:
    """Both splits are numpy arrays of integers, of one dimension, not empty, with values from 0 to vocabulary - 1."""
    data = pair[0]
    if not isinstance(data, TokenData):
        return
    for name, tokens in _splits(data):
        if not isinstance(tokens, np.ndarray) or tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
            kind = (
                f"{tokens.dtype} of shape {tokens.shape}" if isinstance(tokens, np.ndarray) else type(tokens).__name__
            )
            yield f"The {name} split was {kind}."
        elif not len(tokens):
            yield f"The {name} split was empty."
        elif int(tokens.min()) < 0 or int(tokens.max()) >= data.vocabulary:
            spread = f"from {tokens.min()} to {tokens.max()}"
            yield f"The {name} split had values {spread}, with a vocabulary of {data.vocabulary}."


def examples_fit_their_task(pair: Pair) -> Iterator[str]:
    """Examples have as many targets as inputs, inputs of one shape, and the task gives a finite loss for any outputs."""
    data = pair[0]
    if not isinstance(data, ExampleData):
        return
    for name, examples in (("train", data.train), ("validation", data.validation)):
        if not len(examples.inputs) or len(examples.inputs) != len(examples.targets):
            yield f"The {name} split had {len(examples.inputs)} inputs and {len(examples.targets)} targets."
            continue
        if examples.inputs.shape[1:] != data.shape.inputs:
            yield f"The {name} split had inputs of shape {examples.inputs.shape[1:]}, expected {data.shape.inputs}."
        inputs, targets = rows_of(examples, list(range(min(4, len(examples.inputs)))))
        outputs = torch.linspace(-1, 1, len(inputs) * data.task.outputs).view(len(inputs), -1)
        loss, each = data.task.loss(outputs, targets), data.task.each(outputs, targets)
        if not loss.isfinite() or tuple(each.shape) != (len(inputs),) or not torch.isclose(loss, each.mean().float()):
            yield f"The loss was {loss}, and by example {each.tolist()}, whose mean it should be."
        measured = data.task.metrics(float(loss), data.task.tally(outputs, targets))
        if set(measured) != set(data.task.measures):
            yield f"Its metrics were {sorted(measured)}, and measures names {sorted(data.task.measures)}."


def the_same_again(pair: Pair) -> Iterator[str]:
    """The same options give the same tokens and the same facts."""
    once, again = pair
    for (name, first), (_, second) in zip(_splits(once), _splits(again), strict=True):
        if not np.array_equal(np.asarray(first), np.asarray(second)):
            yield f"The {name} split was another the second time."
    if (once.vocabulary, once.facts) != (again.vocabulary, again.facts):
        yield f"It came with {once.vocabulary}, {once.facts}, then with {again.vocabulary}, {again.facts}."


def facts_are_json(pair: Pair) -> Iterator[str]:
    """facts are plain JSON data without NaN; loss_floor lies between 0 and the task's initial loss, reference_losses above 0."""
    facts = pair[0].facts
    try:
        same = json.loads(json.dumps(facts, allow_nan=False)) == facts
    except (TypeError, ValueError) as error:
        yield f"{error}: {facts!r}."
        return
    if not same:
        yield f"Read back they differ: {facts!r}."
    floor = facts.get("loss_floor", 0.0)
    if not isinstance(floor, int | float) or not 0 <= floor <= pair[0].task.initial_loss:
        yield f"loss_floor was {floor!r}."
    references = facts.get("reference_losses", {})
    if not isinstance(references, dict) or not all(
        isinstance(loss, int | float) and loss >= 0 for loss in references.values()
    ):
        yield f"reference_losses were {references!r}."


LAWS: tuple[Law, ...] = (
    build_gives_data,
    splits_are_token_streams,
    examples_fit_their_task,
    the_same_again,
    facts_are_json,
)


def _splits(data: TokenData | ExampleData) -> list[tuple[str, Any]]:
    if isinstance(data, TokenData):
        return [("train", data.train), ("validation", data.validation)]
    both = (("train", data.train), ("validation", data.validation))
    return [(f"{name} {part}", getattr(own, part)) for name, own in both for part in ("inputs", "targets")]
