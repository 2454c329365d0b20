"""The schema of `[[recipe]]`: how the operands of layers are quantized, and formats given by their facts."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, field_validator, model_validator

from altgrad_core.contracts.actions import ROLES
from altgrad_core.contracts.options import Table
from altgrad_core.manifest.names import GranularityName, RoundingName
from altgrad_core.numerics.minifloat import Specials, Subnormals
from altgrad_core.numerics.overflow import Overflow
from altgrad_core.numerics.quantizer import Nonfinite, StraightThrough
from altgrad_core.numerics.scaling import ScaleFormat, ScaleRounding, ScalingName

UNQUANTIZED_NAME = "unquantized"
"""What an evaluation of the weights without any rounding is called."""


class InlineFormat(Table):
    """A format given by its facts.

    Attributes:
        exponent_bits: of the exponent field.
        mantissa_bits: of the fraction field.
        bias: what is subtracted from the exponent field; 2 ** (exponent_bits - 1) - 1 by default.
        specials: which codes are infinities and NaN: none (`finite`), or as in OCP's E4M3 (`fn`), IEEE 754, the `fnuz`
            formats, or IEEE P3109.
        subnormals: whether exponent field 0 has subnormals (`yes`), only zero (`no`), or a power of two and no zero (`none`).
        signed: whether there is a sign bit.
        name: what reports call it; made from the facts by default.
    """

    exponent_bits: NonNegativeInt
    mantissa_bits: NonNegativeInt
    bias: int | None = None
    specials: Specials = "finite"
    subnormals: Subnormals = "yes"
    signed: bool = True
    name: str = Field(default="", pattern=r"^$|^[A-Za-z0-9][A-Za-z0-9._-]*$")


def _format_tag(value: Any) -> str:
    return "inline" if isinstance(value, dict | InlineFormat) else "name"


FormatChoice = Annotated[
    Annotated[str, Tag("name")] | Annotated[InlineFormat, Tag("inline")],
    Discriminator(_format_tag),
]


class QuantizerTable(Table):
    """How one operand is quantized.

    Attributes:
        rounding: how a value between two rungs is rounded; `stochastic:N` uses N random bits.
        scaling: what a scale follows: `amax`, this tensor's largest magnitude; `delayed`, that of earlier steps.
        scale_rounding: of a scale: `up` to a power of two, `exact`, or `mx-floor`, down as in OCP MX.
        granularity: what shares a scale: `tensor`, `row`, `column`, `block:N` or `tile:RxC`.
        scale_format: in which a scale is stored; `e8m0` as in OCP MX, `e4m3` as in NVFP4.
        history: steps that delayed scaling looks back on.
        margin: powers of two that are added to a scale.
        overflow: what is beyond the grid becomes its end (`saturate`), or infinity or NaN where the format has them (`specials`).
        straight_through: the gradient of rounding: `identity`, or zero where a value overflowed (`clipped`).
        nonfinite: what an infinity or a NaN becomes; see the documentation of manifests.
        hadamard: a power of two: blocks of so many elements, along what the product sums over, are rounded after a Hadamard
            transform, and transformed back.
        hadamard_signs: a seed of random signs of this transform; the same for both operands of a product.
    """

    format: FormatChoice = Field(description="the name of a format, or a table of its facts")
    rounding: RoundingName = "nearest-even"
    scaling: ScalingName = "amax"
    scale_rounding: ScaleRounding = "up"
    granularity: GranularityName = "tensor"
    scale_format: ScaleFormat = "fp32"
    history: PositiveInt = 16
    margin: int = Field(default=0, ge=-126, le=126)
    overflow: Overflow = "saturate"
    straight_through: StraightThrough = "identity"
    nonfinite: Nonfinite = "auto"
    hadamard: int | None = Field(default=None, ge=2)
    hadamard_signs: NonNegativeInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_name(cls, value: Any) -> Any:
        """The name of a format alone stands for a table of it."""
        return {"format": value} if isinstance(value, str) else value


class RecipeTable(Table):
    """`[[recipe]]`: which layers, and a quantizer for each role. Later rules win, role by role.

    Attributes:
        layers: a pattern of their paths, such as `blocks.*`; several separated by `|`.
        weight: the weight of a layer.
        activation: its input.
        gradient: the gradient of its output, before both products of the backward pass.
        weight_for_input_gradient: the weight of a linear layer in dx = g W, where it is not to be rounded as in the forward pass.
        activation_for_weight_gradient: the input in dW = g^T x, where it is not to be rounded as in the forward pass.
        gradient_for_weight_gradient: the gradient of the output in dW = g^T x, where it is not to be rounded as for dx.
        query, key, value: these inputs of attention.
        probability: the softmax of attention.
        score_gradient: the gradient of the scores of attention.
        output_gradient: the gradient of the output of attention.
        moment: both moments of the optimizer, where `second_moment` says nothing else.
        second_moment: the second moment of the optimizer.
    """

    layers: str = Field(min_length=1)
    weight: QuantizerTable | None = None
    activation: QuantizerTable | None = None
    gradient: QuantizerTable | None = None
    weight_for_input_gradient: QuantizerTable | None = None
    activation_for_weight_gradient: QuantizerTable | None = None
    gradient_for_weight_gradient: QuantizerTable | None = None
    query: QuantizerTable | None = None
    key: QuantizerTable | None = None
    probability: QuantizerTable | None = None
    value: QuantizerTable | None = None
    score_gradient: QuantizerTable | None = None
    output_gradient: QuantizerTable | None = None
    moment: QuantizerTable | None = None
    second_moment: QuantizerTable | None = None

    @model_validator(mode="after")
    def _names_a_role(self) -> RecipeTable:
        if all(getattr(self, role) is None for role in ROLES):
            raise ValueError(f"a rule needs at least one of {', '.join(ROLES)}")
        return self


class EvaluateTable(Table):
    """`[[evaluate]]`: a recipe that the weights are evaluated under when training has ended.

    Attributes:
        name: what records and reports call it.
        recipe: its rules, as those of `[[recipe]]`. Gradients and moments play no part.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)
    recipe: list[RecipeTable] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _is_another(cls, name: str) -> str:
        if name == UNQUANTIZED_NAME:
            raise ValueError(
                "is the name of the weights without any rounding, which are evaluated anyway; choose another"
            )
        return name
