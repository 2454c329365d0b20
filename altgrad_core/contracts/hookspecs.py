"""The nine hooks. A plugin is a module that implements any of them and stands in the entry-point group `altgrad`.

    [project.entry-points.altgrad]
    my_plugin = "my_package"

Hooks are called once, when a command starts, to collect what is offered; a manifest then chooses by name. A module
named by an entry point must load quickly: import torch inside `build`, `observe` and the like, not at its top.
"""

from __future__ import annotations

from collections.abc import Iterable

from altgrad_core.contracts.dataset import DatasetSpec
from altgrad_core.contracts.executor import ExecutorSpec
from altgrad_core.contracts.intervention import Intervention
from altgrad_core.contracts.layer import LayerSpec
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.contracts.monitor import Monitor
from altgrad_core.contracts.optimizer import OptimizerSpec
from altgrad_core.contracts.plugin import hookspec
from altgrad_core.contracts.tracker import TrackerSpec
from altgrad_core.numerics.format import Format


@hookspec
def altgrad_formats() -> Iterable[Format]:  # type: ignore[empty-body]
    """Yield number formats, as instances.

    Example:
        ```python
        from altgrad_core import Format, hookimpl


        class Thirds(Format):
            "Thirds from -1 to 1, in three bits."

            name = "thirds"
            bits = 3

            def decode(self, code: int) -> float:
                return (code - 3) / 3 if code < 7 else float("nan")


        @hookimpl
        def altgrad_formats():
            yield Thirds()
        ```
    """


@hookspec
def altgrad_optimizers() -> Iterable[type[OptimizerSpec]]:  # type: ignore[empty-body]
    """Yield optimizers, as subclasses of `OptimizerSpec`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import OptimizerSpec, hookimpl
        from pydantic import PositiveFloat


        class PlainSGD(OptimizerSpec):
            "Gradient descent without momentum."

            name: ClassVar = "plain-sgd"
            lr: PositiveFloat = 0.1

            def build(self, groups, geometry):
                import torch

                return torch.optim.SGD(groups, lr=self.lr)


        @hookimpl
        def altgrad_optimizers():
            yield PlainSGD
        ```
    """


@hookspec
def altgrad_monitors() -> Iterable[type[Monitor]]:  # type: ignore[empty-body]
    """Yield monitors, as subclasses of `Monitor`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import Monitor, hookimpl


        class LargestWeight(Monitor):
            "Largest magnitude of every watched weight, after the update."

            name: ClassVar = "largest-weight"

            def observe(self, event):
                return {w.path: float(w.after.abs().max()) for w in event.weights(self.layers)}


        @hookimpl
        def altgrad_monitors():
            yield LargestWeight
        ```
    """


@hookspec
def altgrad_interventions() -> Iterable[type[Intervention]]:  # type: ignore[empty-body]
    """Yield interventions, as subclasses of `Intervention`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import Intervention, Stop, hookimpl


        class StopWhenGood(Intervention):
            "Stop once the validation loss is below a goal."

            name: ClassVar = "stop-when-good"
            reads: ClassVar = "validation-loss"
            acts: ClassVar = (Stop,)
            goal: float = 1.0

            def decide(self, step, readings):
                if readings["*"] < self.goal:
                    yield Stop(because=f"validation loss {readings['*']:.3f} < {self.goal}")


        @hookimpl
        def altgrad_interventions():
            yield StopWhenGood
        ```
    """


@hookspec
def altgrad_models() -> Iterable[type[ModelSpec]]:  # type: ignore[empty-body]
    """Yield models, as subclasses of `ModelSpec`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import ModelSpec, hookimpl


        class Bigram(ModelSpec):
            "Predicts each token from the one before it."

            name: ClassVar = "bigram"

            def build(self, vocabulary):
                from torch import nn

                return nn.Sequential(nn.Embedding(vocabulary, 16), nn.Linear(16, vocabulary))


        @hookimpl
        def altgrad_models():
            yield Bigram
        ```
    """


@hookspec
def altgrad_layers() -> Iterable[type[LayerSpec]]:  # type: ignore[empty-body]
    """Yield kinds of layers that can be quantized, as subclasses of `LayerSpec`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import LayerSpec, hookimpl


        class Gained(LayerSpec):
            "`GainedLinear`, y = gain * (x W^T), with a gain for each output."

            name: ClassVar = "gained"

            def adapts(self, module):
                return type(module).__name__ == "GainedLinear"

            def forward(self, module, rounding, x):
                return module.gain * rounding.linear(x, module.weight, None)


        @hookimpl
        def altgrad_layers():
            yield Gained
        ```
    """


@hookspec
def altgrad_datasets() -> Iterable[type[DatasetSpec]]:  # type: ignore[empty-body]
    """Yield data sets, as subclasses of `DatasetSpec`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import DatasetSpec, TokenData, hookimpl


        class Counting(DatasetSpec):
            "Counts from 0 to 9, over and over."

            name: ClassVar = "counting"

            def build(self):
                import numpy as np

                return TokenData(train=np.arange(100_000) % 10, validation=np.arange(10_000) % 10, vocabulary=10)


        @hookimpl
        def altgrad_datasets():
            yield Counting
        ```
    """


@hookspec
def altgrad_trackers() -> Iterable[type[TrackerSpec]]:  # type: ignore[empty-body]
    """Yield trackers, as subclasses of `TrackerSpec`.

    Example:
        ```python
        from typing import ClassVar

        from altgrad_core import Tracker, TrackerSpec, hookimpl


        class LineCount(Tracker):
            lines = 0

            def write(self, record):
                self.lines += 1

            def close(self, status):
                return f"{self.lines} lines counted"


        class LineCounter(TrackerSpec):
            "Counts the records of a run."

            name: ClassVar = "line-count"

            def build(self, run):
                return LineCount()


        @hookimpl
        def altgrad_trackers():
            yield LineCounter
        ```
    """


@hookspec
def altgrad_executors() -> Iterable[type[ExecutorSpec]]:  # type: ignore[empty-body]
    """Yield executors, as subclasses of `ExecutorSpec`.

    Example:
        ```python
        from threading import Thread

        import altgrad_core
        from altgrad_core import Executor, ExecutorSpec, Job, hookimpl


        class OneThread(Executor, Job):
            capacity = 1
            cancel = kill = close = lambda self, *signal: None  # its cell ends by itself

            def submit(self, task, tell):
                Thread(target=lambda: tell(altgrad_core.train_cell(task, tell)), daemon=True).start()
                return self


        class Threads(ExecutorSpec):
            "Trains one cell at a time, in a thread of this process."

            name = "thread"

            def build(self, jobs):
                return OneThread()


        @hookimpl
        def altgrad_executors():
            yield Threads
        ```
    """
