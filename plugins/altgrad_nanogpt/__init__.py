"""A small GPT-2, laid out so that recipes can name its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from altgrad_core import DataShape, ManifestError, ModelSpec, NextToken, OneOf, Task, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

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
        qk_norm: normalize queries and keys over the dimension of a head, with a weight each (`attn.q_norm`, `attn.k_norm`), as in
            M. Wortsman et al., "Small-scale proxies for large-scale Transformer training instabilities", 2309.14322.
        z_loss: the coefficient of the mean squared log of the partition function of the softmax, which is added to the
            training loss alone (2309.14322 takes 1e-4). Validation losses are without it.
        base_width: parametrize for rates that transfer over widths: they are meant for this n_embd, where nothing changes.
            See `altgrad_nanogpt.width`.
    """

    name: ClassVar = "nanogpt"
    n_layer: PositiveInt = 4
    n_head: PositiveInt = 4
    n_embd: PositiveInt = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bias: bool = False
    tied: bool = True
    qk_norm: bool = False
    z_loss: NonNegativeFloat = 0.0
    base_width: PositiveInt | None = None

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> NanoGPT:
        if self.n_embd % self.n_head:
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}; nearest n_head that fits: "
                + " or ".join(str(heads) for heads in _nearest_divisors(self.n_embd, self.n_head))
            )
        return self

    def added_loss(self, task: Task) -> Callable[[Tensor], Tensor] | None:
        """The z-loss.

        Raises:
            ManifestError: the task has no softmax over the outputs.
        """
        if not self.z_loss:
            return None
        if not isinstance(task, NextToken | OneOf):
            raise ManifestError(
                f'model.z_loss: it is of a softmax over the outputs, and the task "{task.name}" has none; leave it out'
            )
        from altgrad_nanogpt.z_loss import z_loss

        return partial(z_loss, coefficient=self.z_loss)

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
