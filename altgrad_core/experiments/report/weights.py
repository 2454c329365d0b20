"""The weights of a run, from its last checkpoint, on the grids of the formats that were in force."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from altgrad_core.errors import AltgradError
from altgrad_core.experiments.figures.number_line import Occupied
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.registry import installed

if TYPE_CHECKING:
    from altgrad_core.numerics.format import Format

BINS = 96
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


def last_weights(directory: Path) -> list[Seen]:
    """The weights of every tabulated format in the last checkpoint of a run.

    Raises:
        Unseen: there is no checkpoint, it cannot be read, or no weight lies on a grid that can be drawn.
    """
    step, place = _last_checkpoint(directory)
    try:
        operands = json.loads((place / "plan.json").read_text(encoding="utf-8"))["operands"]
        by_format = _grouped(operands)
        found = [_seen(format, step, place, layers) for format, layers in by_format]
    except Unseen:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unseen(f"the checkpoint of step {step} cannot be read ({type(error).__name__})") from None
    if not found:
        raise Unseen("no weight lies on a grid with few enough rungs to be drawn")
    return found


def format_of(facts: Mapping[str, Any]) -> Format:
    """The format that recorded facts describe: one of the floating family, or an installed one by its name."""
    if "exponent_bits" in facts:
        return Minifloat(**{key: facts[key] for key in FACTS if key in facts})
    found: Format = installed().get("format", str(facts["name"]))
    return found


def _last_checkpoint(directory: Path) -> tuple[int, Path]:
    root = RunDirectory(directory).checkpoints
    names = [path.name.removeprefix("step-") for path in root.glob("step-*")] if root.is_dir() else []
    steps = [int(name) for name in names if name.isdecimal()]
    if not steps:
        raise Unseen("there is no checkpoint")
    return max(steps), root / f"step-{max(steps)}"


Layers = dict[str, Any]  # layer -> scale


def _grouped(operands: Mapping[str, Mapping[str, Any]]) -> list[tuple[Format, Layers]]:
    """The layers of every format that weights have and that can be drawn, with their scales."""
    facts: dict[str, Mapping[str, Any]] = {}
    layers: dict[str, Layers] = {}
    for path, roles in operands.items():
        if "weight" in roles and not roles["weight"]["format"].get("identity"):
            name = str(roles["weight"]["format"]["name"])
            facts.setdefault(name, roles["weight"]["format"])
            layers.setdefault(name, {})[path] = roles["weight"]["scale"]
    small = {name: fact for name, fact in facts.items() if int(fact["bits"]) <= MOST_BITS}
    try:
        return [(format_of(fact), layers[name]) for name, fact in small.items()]
    except AltgradError as error:
        raise Unseen(str(error)) from None


def _seen(format: Format, step: int, place: Path, layers: Layers) -> Seen:
    import numpy as np

    rungs = np.array(format.grid.values)
    between = (rungs[1:] + rungs[:-1]) / 2
    counts, present = np.zeros(len(rungs), dtype=np.int64), 0
    scaled = []
    for weight in _scaled(place, layers):
        counts += np.bincount(np.searchsorted(between, weight), minlength=len(rungs))
        present += 1
        scaled.append(weight)
    if not scaled or counts.sum() == 0:
        raise Unseen(f"the checkpoint of step {step} holds no finite weight in {format.name}")
    density, edges = np.histogram(np.concatenate(scaled), bins=BINS)
    shares = counts[counts > 0] / counts.sum()
    return Seen(
        format.name, step, present, int(counts.sum()), int(np.count_nonzero(counts)), len(rungs),
        max(0.0, float(-(shares * np.log2(shares)).sum())),
        Occupied(rungs.tolist(), counts.tolist(), edges.tolist(), density.tolist()),
    )  # fmt: skip


def _scaled(place: Path, layers: Layers) -> Iterator[Any]:
    """The finite weights of each layer that the checkpoint has under its own name, divided by their scale."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(place / "model.safetensors"), framework="np") as file:
            names = set(file.keys())
            for path, scale in layers.items():
                if f"{path}.weight" in names:
                    weight = file.get_tensor(f"{path}.weight").astype(np.float64)
                    values = (weight / _spread(scale, weight.shape)).ravel()
                    yield values[np.isfinite(values)]
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _spread(scale: Any, shape: tuple[int, ...]) -> Any:
    """The scale of every element, by broadcasting: one for all, one a row, or one for each block of a row."""
    import numpy as np

    scales = np.asarray(scale, dtype=np.float64)
    if scales.ndim < 2 or scales.shape[1] in (1, shape[1]):
        return scales.reshape(-1, 1) if scales.ndim == 1 else scales
    block = -(-shape[1] // scales.shape[1])
    return np.repeat(scales, block, axis=1)[:, : shape[1]]
