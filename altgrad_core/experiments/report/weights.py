"""The weights of a run, from its last checkpoint, on the grids of the formats that were in force."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from altgrad_core.errors import AltgradError, FormatError, RunError
from altgrad_core.experiments.figures.number_line import Occupied
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.records.directory import RunDirectory
from altgrad_core.running.state.checkpoint import checkpoint_steps, read_checkpoint

MOST_BITS = 10  # beyond them the rungs are too many to be drawn one by one
FACTS = ("exponent_bits", "mantissa_bits", "bias", "specials", "subnormals", "signed", "name")


@dataclass(frozen=True)
class Seen:
    """The weights of one format in one run.

    Attributes:
        step: of the checkpoint.
        layers: how many hold weights in this format.
        weights: how many weights there are.
        used: how many rungs hold a weight; `rungs` there are.
        entropy: of the shares of the rungs, in bits.
    """

    format: str
    step: int
    layers: int
    weights: int
    used: int
    rungs: int
    entropy: float
    occupied: Occupied


class Unseen(AltgradError):
    """There is no looking at these weights, for the reason given."""


Rungs = tuple[str, Sequence[float]]
"""The name of a format and its rungs, ascending."""


def last_weights(directory: Path, recorded: Mapping[str, Mapping[str, Any]] | None = None) -> list[Seen]:
    """The weights of every tabulated format in the last checkpoint of a run, if the whole of it verifies.

    Args:
        recorded: by name, the facts of formats that the run recorded: the rungs of those that no facts define.

    Raises:
        Unseen: there is no checkpoint, it does not verify, or no weight lies on a grid that can be drawn.
    """
    root = RunDirectory(directory).checkpoints
    if not (steps := checkpoint_steps(root)):
        raise Unseen("there is no checkpoint")
    step = steps[0]
    try:
        files = read_checkpoint(root / f"step-{step}")
    except RunError as error:
        reason = str(error).removeprefix(f"{root / f'step-{step}'}: ")
        raise Unseen(f"the checkpoint of step {step} does not verify: {reason}") from None
    try:
        by_format = _grouped(json.loads(files["plan.json"])["operands"], recorded or {})
        result = [_seen(rungs, step, files["model.safetensors"], layers) for rungs, layers in by_format]
    except Unseen:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unseen(f"the checkpoint of step {step} cannot be read ({type(error).__name__})") from None
    if not result:
        raise Unseen("no weight lies on a grid with few enough rungs to be drawn")
    return result


def rungs_of(facts: Mapping[str, Any], recorded: Mapping[str, Mapping[str, Any]]) -> Rungs:
    """The rungs of a format: by its facts, or as the run recorded them.

    Raises:
        Unseen: neither tells them.
    """
    name = str(facts["name"])
    if "exponent_bits" in facts:
        try:
            return name, Minifloat(**{key: facts[key] for key in FACTS if key in facts}).grid.values
        except FormatError as error:
            raise Unseen(str(error)) from None
    values = recorded.get(name, {}).get("values")
    if isinstance(values, list) and len(values) > 1 and all(isinstance(v, int | float) for v in values):
        return name, sorted(map(float, values))
    raise Unseen(f'the run did not record the rungs of the format "{name}"')


Layers = dict[str, Any]  # layer -> scale


def _grouped(
    operands: Mapping[str, Mapping[str, Any]], recorded: Mapping[str, Mapping[str, Any]]
) -> list[tuple[Rungs, Layers]]:
    """The layers of every format that weights have and that can be drawn, with their scales."""
    facts: dict[str, Mapping[str, Any]] = {}
    layers: dict[str, Layers] = {}
    for path, roles in operands.items():
        if "weight" in roles and not roles["weight"]["format"].get("identity"):
            name = str(roles["weight"]["format"]["name"])
            facts.setdefault(name, roles["weight"]["format"])
            layers.setdefault(name, {})[path] = roles["weight"]["scale"]
    small = {name: fact for name, fact in facts.items() if int(fact["bits"]) <= MOST_BITS}
    return [(rungs_of(fact, recorded), layers[name]) for name, fact in small.items()]


def _seen(format: Rungs, step: int, model: bytes, layers: Layers) -> Seen:
    import numpy as np

    name, rungs = format
    scaled = list(_scaled(model, layers))
    if not any(weight.size for weight in scaled):
        raise Unseen(f"the checkpoint of step {step} holds no finite weight in {name}")
    occupied = Occupied.of(rungs, np.concatenate(scaled))
    counts = np.array(occupied.counts)
    shares = counts[counts > 0] / counts.sum()
    entropy = max(0.0, float(-(shares * np.log2(shares)).sum()))
    used = int(np.count_nonzero(counts))
    return Seen(name, step, len(scaled), int(counts.sum()), used, len(rungs), entropy, occupied)


def _scaled(model: bytes, layers: Layers) -> Iterator[Any]:
    """The finite weights of each layer that the checkpoint has under its own name, divided by their scale."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(model)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    for path, scale in layers.items():
        if f"{path}.weight" in tensors:
            weight = tensors[f"{path}.weight"].astype(np.float64)
            values = (weight / _spread(scale, weight.shape)).ravel()
            yield values[np.isfinite(values)]


def _spread(scale: Any, shape: tuple[int, ...]) -> Any:
    """The scale of every element, by broadcasting: one for all, one a row, or one for each block of a row."""
    import numpy as np

    scales = np.asarray(scale, dtype=np.float64)
    if scales.ndim < 2 or scales.shape[1] in (1, shape[1]):
        return scales.reshape(-1, 1) if scales.ndim == 1 else scales
    block = -(-shape[1] // scales.shape[1])
    return np.repeat(scales, block, axis=1)[:, : shape[1]]
