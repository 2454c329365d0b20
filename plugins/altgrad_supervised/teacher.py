"""A fixed random network, and what it says of random inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from altgrad_core import ExampleData, Examples, Values

if TYPE_CHECKING:
    from altgrad_supervised import Teacher

Array = NDArray[np.float64]
EXPANSION = 4


def lessons(options: Teacher) -> ExampleData:
    """Inputs and targets in float32, computed in float64; targets have mean 0 and variance 1 over all examples."""
    random = np.random.Generator(np.random.Philox(options.seed))
    weights = [_block(random, options.width) for _ in range(options.depth)]
    inputs = random.standard_normal((options.examples, options.width))
    clean = _taught(inputs, weights)
    clean = (clean - clean.mean()) / clean.std()
    targets = clean + options.noise * random.standard_normal(clean.shape)
    cut = options.examples - max(1, round(options.validation_fraction * options.examples))
    train, held_out = (
        Examples(inputs[part].astype(np.float32), targets[part].astype(np.float32))
        for part in (slice(cut), slice(cut, None))
    )
    facts: dict[str, Any] = {"source": "teacher", "examples": options.examples, "loss_floor": options.noise**2}
    return ExampleData(train, held_out, Values(options.width, float(targets.var())), facts=facts)


def _block(random: np.random.Generator, width: int) -> tuple[Array, Array]:
    """The two matrices of a block, with variance 2 / inputs (He et al., 2015)."""
    inner = EXPANSION * width
    into = random.standard_normal((width, inner)) * np.sqrt(2 / width)
    return into, random.standard_normal((inner, width)) * np.sqrt(2 / inner)


def _taught(inputs: Array, weights: list[tuple[Array, Array]]) -> Array:
    """A residual perceptron with layer norms and ReLU; shape (examples, width)."""
    hidden = inputs
    for into, out in weights:
        centred = hidden - hidden.mean(1, keepdims=True)
        normed = centred / np.sqrt(np.square(centred).mean(1, keepdims=True) + 1e-5)
        hidden = hidden + np.maximum(normed @ into, 0) @ out
    return hidden
