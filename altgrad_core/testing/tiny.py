"""A tiny run: assembled and trained by the same code as any other, in memory, in a fraction of a second."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from altgrad_core.contracts.dataset import DatasetSpec, TokenData
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.errors import RunError
from altgrad_core.manifest.load import ManifestFile
from altgrad_core.manifest.schema import DataTable, Manifest, OptimizerTable, RunTable, UseTable
from altgrad_core.numerics.format import Format
from altgrad_core.numerics.minifloat import Minifloat
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.dispatch import Dispatch
from altgrad_core.running.loop.loop import Loop
from altgrad_core.running.model.recipe import Rule

if TYPE_CHECKING:
    from altgrad_core.numerics.geometry import Geometry

VOCABULARY = 16
BLOCK = 8
LAYERS = ("embed", "hidden", "wide", "head")
"""The layers with a weight matrix; `hidden` and `wide` are quantized."""


class Uneven(Format):
    """Cubes from -1 to 1: a grid without binades."""

    name = "uneven"
    bits = 6

    def decode(self, code: int) -> float:
        """Code 63 is NaN."""
        return ((code - 31) / 31) ** 3 if code < 63 else float("nan")


STEEP = Minifloat(4, 3, 7, "fn")
WIDE = Minifloat(5, 2, 15, "ieee")
UNIFORM = Minifloat(0, 7, 1)
POWERS = Minifloat(7, 0, 63)
FORMATS: tuple[Format, ...] = (STEEP, UNIFORM, POWERS, Uneven())
"""One of each character: ordinary, uniform, nothing but powers of two, without binades."""


class TinyModel(ModelSpec):
    """Two quantized layers between an embedding and a head."""

    name: ClassVar = "tiny"
    block_size: int = BLOCK

    def build(self, vocabulary: int) -> nn.Module:
        """About a thousand parameters."""
        return nn.Sequential(
            OrderedDict[str, nn.Module](
                embed=nn.Embedding(vocabulary, 8),
                hidden=nn.Linear(8, 16),
                bend=nn.Tanh(),
                wide=nn.Linear(16, 16, bias=False),
                norm=nn.LayerNorm(16),
                head=nn.Linear(16, vocabulary),
            )
        )


class TinyData(DatasetSpec):
    """Counts upwards by one, two or three, modulo 16."""

    name: ClassVar = "tiny"

    def build(self) -> TokenData:
        """The same tokens every time."""
        steps = np.random.PCG64(0).random_raw(2000) % 3 + 1
        tokens = (np.cumsum(steps) % VOCABULARY).astype(np.uint8)
        return TokenData(train=tokens[:1800], validation=tokens[1800:], vocabulary=VOCABULARY)


class TinyDescent(OptimizerSpec):
    """Gradient descent."""

    name: ClassVar = "tiny"
    lr: NonNegativeFloat = 0.1

    def build(self, groups: list[dict[str, Any]], geometry: Mapping[Tensor, Geometry]) -> Optimizer:
        """`torch.optim.SGD`."""
        return SGD(groups, lr=self.lr)


def tiny_run(
    *,
    optimizer: OptimizerSpec | None = None,
    format: Format = STEEP,
    monitors: Sequence[Monitor] = (),
    interventions: Sequence[Intervention] = (),
    steps: int = 12,
) -> Run:
    """A run of the tiny model with its two inner layers quantized, evaluated after every third step."""
    inner = Quantizer(format)
    rules = (Rule("hidden|wide", weight=inner, activation=Quantizer(STEEP), gradient=Quantizer(WIDE, "stochastic")),)
    manifest = Manifest(
        run=RunTable(name="tiny", steps=steps, evaluate_every=3, evaluate_batches=1, device="cpu"),
        model=UseTable(use="tiny"),
        data=DataTable(use="tiny", batch_size=4),
        optimizer=OptimizerTable(use="tiny"),
    )
    resolved = Resolved(
        source=ManifestFile(Path("tiny.toml"), "", {}),
        manifest=manifest,
        model=TinyModel(),
        data=TinyData(),
        optimizer=optimizer or TinyDescent(),
        rules=rules,
        monitors=tuple(monitors),
        interventions=tuple(interventions),
        trackers=(),
        registry=installed(),
        plugins=(),
    )
    return assemble(resolved)


@dataclass
class Tape:
    """Records in memory, in place of files."""

    records: list[dict[str, Any]] = field(default_factory=list)

    def happened(self, record: dict[str, Any]) -> None:
        """Keep it."""
        self.records.append(record)

    def noticed(self, record: dict[str, Any]) -> None:
        """Throughput and warnings are not looked at."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The records of one kind."""
        return [record for record in self.records if record["kind"] == kind]


@dataclass
class _NoDisk:
    """A saver that does not save, and signals that come once a step is reached."""

    run: Run
    until: int

    def save(self, **options: object) -> None:
        """Nothing."""

    def roll_back(self, not_after: int) -> int:
        raise RunError("a tiny run keeps no checkpoints to return to")

    @property
    def received(self) -> int | None:
        """The number of a signal once the run has come to `until`."""
        return 2 if self.run.progress.step >= self.until else None


def train(run: Run, tape: Tape | None = None, *, until: int | None = None, dispatch: Dispatch | None = None) -> Tape:
    """Train a tiny run from where it stands to its end, or until a step; its records."""
    tape = tape or Tape()
    stand_in: Any = _NoDisk(run, run.steps + 1 if until is None else until)
    loop = Loop(run, tape, stand_in, stand_in)  # type: ignore[arg-type]
    loop.dispatch = dispatch or loop.dispatch
    if run.progress.step == 0:
        loop.begin()
    loop.train()
    return tape


def everything(run: Run) -> dict[str, Any]:
    """All that a step depends on, by name, in comparable form: weights, gradients, optimizer, plan, generators."""
    result: dict[str, Any] = generators()
    for name, tensor in [*run.model.named_parameters(), *run.model.named_buffers()]:
        result[f"the value of {name}"] = bits(tensor)
        result[f"the gradient of {name}"] = None if tensor.grad is None else bits(tensor.grad)
    for parameter, state in enumerate(run.optimizer.state.values()):
        for name, value in state.items():
            result[f"the optimizer's {name} of parameter {parameter}"] = (
                bits(value) if torch.is_tensor(value) else value
            )
    result["the learning rate"] = [group["lr"] for group in run.optimizer.param_groups]
    result["the plan (formats, scales, histories)"] = repr(run.plan.state_dict())
    result["training mode"] = [module.training for module in run.model.modules()]
    result["torch's grad mode"] = torch.is_grad_enabled()
    return result


def generators() -> dict[str, Any]:
    """The state of the generators that are shared by everybody."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch's default generator": bits(torch.get_rng_state()),
        "numpy's global generator": (kind, bytes(keys), *rest),  # type: ignore[arg-type]
        "random's global generator": random.getstate(),
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what differs."""
    return [name for name in after if before.get(name) != after[name]]


def bits(tensor: Tensor) -> bytes:
    """The bits of a tensor, so that NaN equals itself and -0 differs from +0."""
    return bytes(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
