"""Layers: what readings say of each type of layer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from altgrad_core.contracts.actions import ROLES
from altgrad_core.experiments.evidence.arms import Arm
from altgrad_core.experiments.study.labels import role_format
from altgrad_core.experiments.study.study import Result, Study

OTHER = "other"
_TYPES = (  # in this order: what is inside an attention or an MLP block belongs to it, whatever it is called
    ("attention", r"attn|attention|qkv|[qkvo]_proj|query|key|value"),
    ("MLP", r"mlp|ffn|feed_?forward|fc\d*|c_fc|(gate|up|down)_proj|experts?"),
    ("classifier", r"\w*head|classifier|unembed\w*|logits|output"),
    ("embeddings", r"w[tp]e|\w*embed(ding)?s?(_tokens)?|embed_\w+|positions?"),
)


def layer_type(path: str) -> str:
    """`attention`, `MLP`, `classifier` or `embeddings`, by the words in the path of a layer, else `other`."""
    words = path.lower().split(".")
    for name, pattern in _TYPES:
        if any(re.fullmatch(rf"(\w*_)?({pattern})", word) for word in words):
            return name
    return OTHER


@dataclass(frozen=True)
class LayerMean:
    """A reading of one type of layer: its mean over the layers, the steps and the cells at the chosen rate."""

    format: str
    optimizer: str
    variant: str
    type: str
    reading: str
    mean: float
    layers: int
    cells: int


def layer_means_of(study: Study, arms: Sequence[Arm]) -> tuple[LayerMean, ...]:
    """Every reading that the finished cells at the chosen rates recorded, by type of layer."""
    return tuple(mean for arm in arms for mean in _means(arm, _chosen(study, arm)))


def _chosen(study: Study, arm: Arm) -> list[Result]:
    place = (arm.format, arm.optimizer, arm.variant, arm.rate)
    own = [r for r in study.results if (r.format, r.optimizer, r.variant, r.rate) == place and r.role == "cell"]
    return [result for result in own if result.status == "finished"]


def _means(arm: Arm, cells: Sequence[Result]) -> list[LayerMean]:
    result: dict[tuple[str, str], list[tuple[str, str, float]]] = {}
    for cell in cells:
        for reading, layers in cell.run_summary.readings.items():
            for layer, values in layers.items():
                if layer != "*" and values.mean is not None:
                    result.setdefault((layer_type(layer), reading), []).append((layer, cell.name, values.mean))
    return [
        LayerMean(
            arm.format, arm.optimizer, arm.variant, type, reading, sum(v for _, _, v in seen) / len(seen),
            len({layer for layer, _, _ in seen}), len({name for _, name, _ in seen}),
        )
        for (type, reading), seen in result.items()
    ]  # fmt: skip


def comparable(means: Sequence[LayerMean], baseline: str | None) -> list[LayerMean]:
    """Those of like runs alone: of the variant that has most formats, and of the optimizers that all of these have."""
    formats: dict[str, dict[str, None]] = {}
    for mean in means:
        formats.setdefault(mean.variant, {})[mean.format] = None
    if not formats:
        return []
    variant = max(formats, key=lambda name: len(formats[name]))
    own = [mean for mean in means if mean.variant == variant]
    having = {name: {mean.format for mean in own if mean.optimizer == name} for name in {m.optimizer for m in own}}
    common = {name for name, result in having.items() if result == set(formats[variant])}
    kept = common or {baseline if baseline in having else max(sorted(having), key=lambda name: len(having[name]))}
    return [mean for mean in own if mean.optimizer in kept]


def role_of(reading: str) -> str:
    """The operand that a reading is of; what names none is of the weights."""
    return next((role for role in ROLES if reading.startswith(f"{role}-")), "weight")


def operand_format(study: Study, role: str, *, format: str, variant: str) -> str:
    """What an operand of the cells under this label is rounded to; the label itself where no manifest says it."""
    own = [r.manifest for r in study.results if (r.format, r.variant) == (format, variant) and r.manifest]
    return role_format(own[0], role) if own else format
