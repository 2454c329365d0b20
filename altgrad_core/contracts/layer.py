"""A layer plugin: which modules are of its kind, what their matrix products are, and the quantized forward pass."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from altgrad_core.contracts.actions import Role
from altgrad_core.contracts.options import Options

if TYPE_CHECKING:
    from torch import Tensor, nn

PRODUCT: tuple[Role, ...] = ("weight", "activation", "gradient")
"""The roles of a product of an input and a weight."""
APART: tuple[Role, ...] = (
    "weight_for_input_gradient",
    "activation_for_weight_gradient",
    "gradient_for_weight_gradient",
)
"""The roles of the second use of an operand, in dx = g W and dW = g^T x; where no rule has them, it is rounded once for both uses."""
LINEAR: tuple[Role, ...] = (*PRODUCT, *APART)
"""The roles of a product that `Rounding.linear` computes."""
ATTENTION: tuple[Role, ...] = ("query", "key", "probability", "value", "score_gradient", "output_gradient")
"""The roles of the two products of attention, S = Q K^T and O = P V: their operands, and the gradients of S and O."""


@dataclass(frozen=True)
class Product:
    """One product of a layer, which a recipe can quantize.

    Attributes:
        name: follows the path of the module, after a dot; empty where the module is one product.
        weight: where the module has the weight, such as `weight` or `out_proj.weight`; None: it has none.
        roles: the operands that can be quantized.
        contracted: for a role, the dimensions that the product sums over; see `contraction`. Rows and blocks that share a
            scale run along them.
    """

    name: str = ""
    weight: str | None = "weight"
    roles: tuple[Role, ...] = PRODUCT
    contracted: Mapping[Role, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def linear(cls, name: str = "", weight: str = "weight") -> Product:
        """A product that `Rounding.linear` computes, with the roles `LINEAR`."""
        return cls(name, weight, LINEAR)

    def contraction(self, role: Role) -> tuple[int, ...]:
        """The dimensions that the product sums over; where nothing is said the last, and of `APART` the first one.

        These are matrices: the weight, (outputs, inputs), and inputs and gradients as lines, (tokens, features).
        """
        return self.contracted.get(role, (0,) if role in APART else (-1,))


class Rounding(Protocol):
    """What a quantized forward pass rounds with. An operand that no rule quantizes passes as it is.

    `product` is the name of the product, for layers that have several.
    """

    def round(self, x: Tensor, role: Role, *, product: str = "") -> Tensor:
        """Q(x), of the shape and type of `x`; the gradient passes straight through."""
        ...

    def round_gradient(self, y: Tensor, role: Role = "gradient", *, product: str = "") -> Tensor:
        """`y` itself, whose gradient is rounded once on its way back. Add a bias afterwards: its gradient is not rounded."""
        ...

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None, *, product: str = "") -> Tensor:
        """Q(x) Q(weight)^T + bias with the gradient rounded: all three operands at once, and less memory.

        It has the roles `LINEAR`: each of the three products can round its two operands by rules of its own.
        """
        ...

    def is_rounded(self, *, product: str = "") -> bool:
        """Whether a rule quantizes any operand of the product."""
        ...

    def plain_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """What the module computed before it was quantized; layers inside it stay quantized."""
        ...


class LayerSpec(Options):
    """A kind of layer. A subclass sets `name` and writes `adapts` and `forward`; `products` where one weight is not all.

    Attributes:
        in_star: whether the pattern `*` alone means these layers too; others must be named.
        in_last_star: whether a pattern that ends in a part `*`, such as `blocks.*`, means these layers too; others must be
            named by their last part, such as `blocks.*.ln_1`.
    """

    in_star: ClassVar[bool] = True
    in_last_star: ClassVar[bool] = True

    @abstractmethod
    def adapts(self, module: nn.Module) -> bool:
        """Whether a module is of this kind, so that `forward` computes what the module computes."""

    @abstractmethod
    def forward(self, module: nn.Module, rounding: Rounding, *args: Any, **kwargs: Any) -> Any:
        """What the module computes, with its operands rounded.

        Args:
            module: keeps its class, its attributes and its parameters.
            *args: those that the module is called with.
            **kwargs: those that the module is called with, by name.
        """

    def refusal(self, module: nn.Module) -> str | None:
        """Why a module that is nearly of this kind cannot be quantized; coverage says it. None: it is of no concern."""
        return None

    def products(self, module: nn.Module) -> Sequence[Product]:
        """The products of a module of this kind."""
        return (Product(),)
