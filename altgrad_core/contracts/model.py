"""A model plugin: options, and the `nn.Module` made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from altgrad_core.contracts.options import Options
from altgrad_core.errors import ManifestError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from altgrad_core.contracts.dataset import DataShape
    from altgrad_core.contracts.task import Task


class ModelSpec(Options):
    """The options of a model. A subclass sets `name`, declares its options and writes `build`, `build_for` or both.

    Attributes:
        block_size: the longest sequence the model takes; batches have this length.
    """

    block_size: PositiveInt = 128

    @classmethod
    def pretrained(cls, path: Path) -> Mapping[str, Any] | None:
        """The tables of a manifest that evaluates the model in a directory; `[data]` may lack what only a user knows.

        None: no model of this kind lies there.
        """
        return None

    def build(self, vocabulary: int) -> nn.Module:
        """A module from tokens, int64 of shape (batch, time), to logits, shape (batch, time, vocabulary) or wider.

        It is freshly initialized from torch's default generator, which the run has seeded.

        Raises:
            ManifestError: it does not predict tokens, as here.
        """
        raise ManifestError(f'model.use: "{self.name}" does not predict tokens; choose another model or data set')

    def build_for(self, shape: DataShape) -> nn.Module:
        """A module from a batch of examples, shape (batch, *shape.inputs), to outputs, shape (batch, shape.outputs).

        Raises:
            ManifestError: it predicts nothing but tokens, as here, or cannot take such inputs.
        """
        raise ManifestError(
            f'model.use: "{self.name}" predicts only tokens, and this data set has examples of shape {shape.inputs} with '
            f"{shape.outputs} outputs; choose a model that has build_for, such as one for examples"
        )

    def added_loss(self, task: Task) -> Callable[[Tensor], Tensor] | None:
        """What is added to the training loss, a scalar made of the outputs of a micro-batch; None, as here: nothing.

        Asked once, before training. Losses and metrics of validation are without it, so that they stay comparable.

        Raises:
            ManifestError: it makes no sense for this task.
        """
        return None
