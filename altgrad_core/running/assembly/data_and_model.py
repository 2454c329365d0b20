"""Build the data, the batches and the model of a resolved manifest, and check that they fit each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from altgrad_core.contracts.dataset import ExampleData, TokenData
from altgrad_core.contracts.model import ModelSpec
from altgrad_core.contracts.task import METRICS, Task
from altgrad_core.errors import AltgradError, ManifestError, PluginError, reason_of
from altgrad_core.manifest.lines import Location
from altgrad_core.numerics.random import derive_key
from altgrad_core.running.assembly.resolved import Resolved
from altgrad_core.running.data.batches import Batches
from altgrad_core.running.data.example_batches import ExampleBatches


def located(resolved: Resolved, location: Location, make: Callable[[], Any]) -> Any:
    """What `make` makes; whatever a plugin raises becomes a mistake at this place of the manifest."""
    try:
        return make()
    except PluginError:
        raise
    except AltgradError as error:
        raise resolved.error(location, str(error)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # code of a plugin, before the first step
        raise resolved.error(location, reason_of(error)) from error


def build_data(resolved: Resolved) -> TokenData | ExampleData:
    """The data set of a manifest.

    Raises:
        ManifestError: it cannot be built.
        PluginError: it is not what a data set builds.
    """
    try:
        data = resolved.data.build()
    except ManifestError as error:  # it names its own key, such as data.paths[1]
        raise ManifestError(f"{resolved.source.path}: {error}") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as above
        raise resolved.error(("data",), reason_of(error)) from error
    if (problem := _data_problem(data) or _task_problem(data.task)) is not None:
        raise PluginError(f'data set "{resolved.data.name}": {problem}')
    return data


def _data_problem(data: object) -> str | None:
    """Why this is not what a data set builds."""
    if isinstance(data, ExampleData):
        return _example_problem(data)
    if not isinstance(data, TokenData):
        return f"build returned {type(data).__name__}; expected TokenData or ExampleData"
    if data.vocabulary < 2:
        return f"its vocabulary is {data.vocabulary}; expected 2 or more"
    for tokens in (data.train, data.validation):
        if not isinstance(tokens, np.ndarray):
            return f"tokens are a {type(tokens).__name__}; expected a NumPy array of integers"
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            return f"tokens are {tokens.dtype} of shape {tokens.shape}; expected integers of shape (tokens,)"
        if (problem := _token_problem(tokens, data.vocabulary)) is not None:
            return problem
    return None


def _task_problem(task: Task) -> str | None:
    if not 0 < task.initial_loss < math.inf:
        return f"the loss of a model that has learned nothing is {task.initial_loss}; expected a finite number above 0"
    return None


def _example_problem(data: ExampleData) -> str | None:
    if not isinstance(data.task, Task):
        return f"its task is {data.task!r}; expected a Task"
    for name, examples in (("train", data.train), ("validation", data.validation)):
        for what, values in (("inputs", examples.inputs), ("targets", examples.targets)):
            if not isinstance(values, np.ndarray):
                return f"{what} of the {name} split are a {type(values).__name__}; expected a NumPy array"
        if len(examples.inputs) != len(examples.targets):
            return f"the {name} split has {len(examples.inputs)} inputs and {len(examples.targets)} targets"
        if examples.inputs.shape[1:] != data.shape.inputs:
            return f"inputs of the {name} split have shape {examples.inputs.shape[1:]}, others {data.shape.inputs}"
        if data.vocabulary is not None and (problem := _token_problem(examples.inputs, data.vocabulary)) is not None:
            return problem
    return None


def _token_problem(tokens: np.ndarray[Any, Any], vocabulary: int) -> str | None:
    for extreme in (tokens.min(), tokens.max()) if tokens.size else ():
        if not 0 <= extreme < vocabulary:
            return f"token {extreme} is outside its vocabulary of {vocabulary}"
    return None


def build_batches(resolved: Resolved, data: TokenData | ExampleData) -> Batches | ExampleBatches:
    """The batches of a run.

    Raises:
        ManifestError: a split is too short.
    """
    table, seed = resolved.manifest.data, resolved.manifest.run.seed
    sizes = {"batch_size": table.batch_size, "accumulate": table.accumulate, "seed": seed}
    try:
        if isinstance(data, ExampleData):
            return ExampleBatches(data, **sizes)
        return Batches(data, block_size=resolved.model.block_size, **sizes)
    except ManifestError as error:
        raise resolved.error(("data",), str(error)) from None


def build_model(resolved: Resolved, data: TokenData | ExampleData) -> nn.Module:
    """The model of a manifest, for these data; its initial weights follow from the seed.

    Raises:
        ManifestError: it cannot be built, or not for such data.
    """
    spec = resolved.model
    torch.manual_seed(derive_key(resolved.manifest.run.seed, "init"))
    model = located(resolved, ("model",), lambda: _built(spec, data))
    if not isinstance(model, nn.Module):
        made = f"{type(model).__name__} {model!r}"
        raise resolved.error(("model", "use"), f"{spec.name} built {made}; expected a torch.nn.Module")
    return model


def _built(spec: ModelSpec, data: TokenData | ExampleData) -> Any:
    return spec.build_for(data.shape) if isinstance(data, ExampleData) else spec.build(data.vocabulary)


def check_metrics(resolved: Resolved, task: Task) -> None:
    """What interventions read must be measured of these data; checked here, so that none waits for a reading that never comes.

    Raises:
        ManifestError: an intervention reads a metric of another task.
    """
    for index, intervention in enumerate(resolved.interventions):
        for reads in intervention.wants():
            if reads in METRICS and reads not in task.measures:
                raise resolved.error(
                    ("intervention", index),
                    f'{type(intervention).name} reads "{reads}", which these data do not have; they have '
                    f"{', '.join(task.measures) or 'no metric'}, and validation-loss",
                )


def check_outputs(resolved: Resolved, model: nn.Module, inputs: torch.Tensor, task: Task) -> None:
    """One example must come out in the shape of the task; found here, it is no crash at step 1.

    A model may have logits for more tokens than there are, as those with a padded vocabulary do.

    Raises:
        ManifestError: it does not.
    """
    model.eval()
    with torch.no_grad():
        outputs = located(resolved, ("model",), lambda: model(inputs))
    expected = (*inputs.shape, task.outputs) if task.per_token else (len(inputs), task.outputs)
    named = "logits (batch, time, vocabulary)" if task.per_token else "outputs (batch, outputs)"
    if isinstance(outputs, torch.Tensor) and task.per_token and outputs.shape[-1:] > expected[-1:]:
        expected = (*expected[:-1], outputs.shape[-1])
    if not isinstance(outputs, torch.Tensor) or tuple(outputs.shape) != expected:
        is_tensor = isinstance(outputs, torch.Tensor)
        came = f"a tensor of shape {tuple(outputs.shape)}" if is_tensor else type(outputs).__name__
        raise resolved.error(("model",), f"it returned {came}; expected {named}, here {expected}")
    model.train()
