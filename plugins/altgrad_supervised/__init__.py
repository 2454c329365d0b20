"""Examples with targets: handwritten digits, a synthetic teacher, and a multilayer perceptron that learns them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from altgrad_core import DatasetSpec, DataShape, ExampleData, ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Digits(DatasetSpec):
    """1,797 handwritten digits of 8 x 8 pixels from scikit-learn; no download.

    There are ten classes.

    Attributes:
        validation_fraction: the share of the images that is held out.
        seed: which images are held out; not the seed of the run, so that runs of different seeds share their data.
    """

    name: ClassVar = "digits"
    validation_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0

    def build(self) -> ExampleData:
        """Pixels from 0 to 1, float32 of shape (images, 64), and their classes.

        Raises:
            ManifestError: scikit-learn is not installed.
        """
        from altgrad_supervised.digits import digits

        return digits(validation_fraction=self.validation_fraction, seed=self.seed)


class Teacher(DatasetSpec):
    """A regression: random inputs, and the outputs of a fixed random network.

    A student of the same kind can learn it.

    After the student-teacher setting of "Characterization and Mitigation of Training Instabilities in Microscaling Formats",
    arXiv 2506.20752. The teacher is a residual perceptron with layer norms and ReLU.

    Attributes:
        width: numbers in an input, and in a target.
        depth: residual blocks of the teacher.
        examples: in both splits together.
        noise: standard deviation of what is added to the targets, in units of theirs.
        seed: of the teacher, the inputs and the noise; not the seed of the run.
        validation_fraction: the share of the examples that is held out.
    """

    name: ClassVar = "teacher"
    width: PositiveInt = 64
    depth: PositiveInt = 2
    examples: Annotated[int, Field(ge=2)] = 20_000
    noise: NonNegativeFloat = 0.01
    seed: NonNegativeInt = 0
    validation_fraction: Fraction = 0.1

    def build(self) -> ExampleData:
        """Draw the examples; `facts["loss_floor"]` is the variance of the noise, the loss of the teacher itself."""
        from altgrad_supervised.teacher import lessons

        return lessons(self)


class Perceptron(ModelSpec):
    """A multilayer perceptron for numbers: blocks of two linear layers, then a head.

    Its linear layers are `inputs`, `blocks.N.fc`, `blocks.N.c_proj` and `head`.

    Attributes:
        width: of every block's input and output.
        depth: blocks, one after the other.
        expansion: how many times as wide a block is inside.
        activation: between the two layers of a block.
        residual: whether a block adds to its input.
        norm: whether a layer norm precedes every block.
        bias: whether linear layers and norms add a bias.
    """

    name: ClassVar = "mlp"
    width: PositiveInt = 64
    depth: PositiveInt = 2
    expansion: PositiveInt = 4
    activation: Literal["relu", "gelu"] = "relu"
    residual: bool = True
    norm: bool = True
    bias: bool = True

    def build_for(self, shape: DataShape) -> nn.Module:
        """A module from float32 numbers, (batch, ...), to outputs, (batch, shape.outputs).

        Raises:
            ManifestError: the inputs are tokens.
        """
        from altgrad_supervised.perceptron import perceptron

        return perceptron(self, shape)


@hookimpl
def altgrad_datasets() -> Iterator[type[DatasetSpec]]:
    """The data sets of this package."""
    yield Digits
    yield Teacher


@hookimpl
def altgrad_models() -> Iterator[type[ModelSpec]]:
    """The models of this package."""
    yield Perceptron
