"""Layers: what readings say of each type of layer, and what recipes cost that treat layers differently."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from altgrad_core.contracts.actions import ROLES
from altgrad_core.experiments.evidence.arms import Arm, arms
from altgrad_core.experiments.evidence.statistics import agreed_sign, bootstrap_interval, student_interval
from altgrad_core.experiments.study.labels import role_format
from altgrad_core.experiments.study.study import Result, Study, once
from altgrad_core.experiments.study.variants import words
from altgrad_core.experiments.study.wording import count, few, sentence, size, span

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


@once
def by_layer_type(study: Study) -> tuple[LayerMean, ...]:
    """Every reading that the finished cells at the chosen rates recorded, by type of layer."""
    return tuple(mean for arm in arms(study) for mean in _means(arm, _chosen(study, arm)))


def _chosen(study: Study, arm: Arm) -> list[Result]:
    place = (arm.format, arm.optimizer, arm.variant, arm.rate)
    own = [r for r in study.results if (r.format, r.optimizer, r.variant, r.rate) == place and r.role == "cell"]
    return [result for result in own if result.status == "finished"]


def _means(arm: Arm, cells: Sequence[Result]) -> list[LayerMean]:
    found: dict[tuple[str, str], list[tuple[str, str, float]]] = {}
    for cell in cells:
        for reading, layers in cell.run_summary.readings.items():
            for layer, values in layers.items():
                if layer != "*" and values.mean is not None:
                    found.setdefault((layer_type(layer), reading), []).append((layer, cell.name, values.mean))
    return [
        LayerMean(
            arm.format, arm.optimizer, arm.variant, type, reading, sum(v for _, _, v in seen) / len(seen),
            len({layer for layer, _, _ in seen}), len({name for _, name, _ in seen}),
        )
        for (type, reading), seen in found.items()
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
    common = {name for name, found in having.items() if found == set(formats[variant])}
    kept = common or {baseline if baseline in having else max(sorted(having), key=lambda name: len(having[name]))}
    return [mean for mean in own if mean.optimizer in kept]


def role_of(reading: str) -> str:
    """The operand that a reading is of; what names none is of the weights."""
    return next((role for role in ROLES if reading.startswith(f"{role}-")), "weight")


def operand_format(study: Study, role: str, *, format: str, variant: str) -> str:
    """What an operand of the cells under this label is rounded to; the label itself where no manifest says it."""
    own = [r.manifest for r in study.results if (r.format, r.variant) == (format, variant) and r.manifest]
    return role_format(own[0], role) if own else format


def _layers_of(study: Study, arm: Arm) -> tuple[str, ...]:
    """The layers of the rules of an arm's recipe."""
    place = (arm.format, arm.optimizer, arm.variant)
    own = [r.manifest for r in study.results if (r.format, r.optimizer, r.variant) == place and r.manifest]
    return tuple(rule["layers"] for rule in own[0].get("recipe", [])) if own else ()


def _is_mixed(study: Study, members: Sequence[Arm]) -> bool:
    """Whether the recipes of these arms treat layers differently."""
    kinds = {layers for arm in members if (layers := _layers_of(study, arm))}
    return len(kinds) > 1 or any(" (" in arm.format for arm in members)


def recipe_sentences(study: Study) -> tuple[str, ...]:
    """The losses of recipes that treat layers differently and are alike in all else, and whether the best stands apart."""
    alike: dict[tuple[str, str, str], list[Arm]] = {}
    for arm in arms(study):
        if arm.losses:
            alike.setdefault((arm.optimizer, arm.format.partition(" (")[0], _rest(study, arm)), []).append(arm)
    found = []
    for (optimizer, _, _), members in alike.items():
        ordered = sorted(members, key=_mean)
        if len(ordered) > 1 and _is_mixed(study, ordered):
            told = [f"{_recipe(arm)} {_mean(arm):.4g} ({count(len(arm.losses), 'seed')})" for arm in ordered]
            found.append(sentence(f"with {optimizer}, nats per token by recipe: {few(told)}; {_lead(*ordered[:2])}"))
    return tuple(found)


def _rest(study: Study, arm: Arm) -> str:
    """What varies besides the layers of rules."""
    told = words(study.variants.get(arm.variant, arm.variant))
    return ", ".join(f"{key}={value}" for key, value in told.items() if key.rpartition(".")[2] != "layers")


def _mean(arm: Arm) -> float:
    return sum(arm.losses.values()) / len(arm.losses)


def _recipe(arm: Arm) -> str:
    return f"{arm.format} [{arm.variant}]" if arm.variant else arm.format


def _lead(best: Arm, second: Arm) -> str:
    """Whether the first is shown to be better than the second, over the seeds they share."""
    both = [(second.held_out[s].loss, best.held_out[s].loss) for s in best.held_out if s in second.held_out]
    values = [theirs - own for theirs, own in both if theirs is not None and own is not None]
    interval, student = bootstrap_interval(values), student_interval(values)
    if interval is None:
        return "too few seeds to tell the first from the second"
    told = f"{size(interval.mean)} apart, 95 % interval {span(interval)}, {count(len(values), 'seed')}"
    is_apart = agreed_sign(len(values), interval, student) == 1
    return f"the first is {'better than' if is_apart else 'not told from'} the second ({told})"
