"""A small GPT-2, laid out so that recipes can name its parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, PositiveInt, model_validator

from altgrad_core import DataShape, ManifestError, ModelSpec, hookimpl

if TYPE_CHECKING:
    from altgrad_nanogpt.model import GPT


class NanoGPT(ModelSpec):
    """A small GPT-2: pre-norm, causal attention, GELU, learned positions.

    Its linear layers are `blocks.N.attn.qkv`, `blocks.N.attn.c_proj`, `blocks.N.mlp.fc`, `blocks.N.mlp.c_proj` and
    `lm_head`.

    Attributes:
        n_layer: blocks, one after the other.
        n_head: attention heads in each block; divides n_embd.
        n_embd: the width of the residual stream; the MLPs are four times as wide.
        dropout: the probability of dropping an activation in training.
        bias: whether linear layers of the blocks and norms add a bias.
        tied: whether `lm_head` and the token embedding share one weight.
    """

    name: ClassVar = "nanogpt"
    n_layer: PositiveInt = 4
    n_head: PositiveInt = 4
    n_embd: PositiveInt = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bias: bool = False
    tied: bool = True

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> NanoGPT:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; nearest n_head that fits: "
                + " or ".join(str(heads) for heads in _nearest_divisors(self.n_embd, self.n_head))
            )
        return self

    def build(self, vocabulary: int) -> GPT:
        """A module from tokens, int64 of shape (batch, time), to logits, shape (batch, time, vocabulary)."""
        from altgrad_nanogpt.model import GPT

        return GPT(vocabulary, self)

    def build_for(self, shape: DataShape) -> GPT:
        """A module from sequences of tokens, (batch, time), to outputs for each of them, (batch, shape.outputs).

        Raises:
            ManifestError: inputs are numbers, or longer than the model has positions.
        """
        if shape.vocabulary is None:
            raise ManifestError(
                'model.use: "nanogpt" takes tokens, and this data set has numbers; choose another model'
            )
        if shape.inputs[0] > self.block_size:
            raise ManifestError(
                f"model.block_size: sequences have {shape.inputs[0]} tokens, more than the {self.block_size} positions of "
                "the model; raise it, or shorten them"
            )
        from altgrad_nanogpt.model import Classifier

        return Classifier(shape.vocabulary, shape.outputs, shape.padding, self)


def _nearest_divisors(number: int, to: int) -> list[int]:
    """The largest divisor below `to`, and the smallest above it where there is one."""
    divisors = [candidate for candidate in range(1, number + 1) if number % candidate == 0]
    return [max(d for d in divisors if d < to), *[d for d in divisors if d > to][:1]]


@hookimpl
def altgrad_models() -> Iterator[type[ModelSpec]]:
    """The models of this package."""
    yield NanoGPT
