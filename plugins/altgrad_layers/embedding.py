"""Tables of vectors: no product, so only the weight has a role, and only where a rule names the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from altgrad_core import LayerSpec, Product, Rounding
from altgrad_layers.own_forward import computes_as, why_not

if TYPE_CHECKING:
    from torch import Tensor, nn

TABLE = (Product(roles=("weight",)),)


class Embedding(LayerSpec):
    """Quantizes the table of `torch.nn.Embedding`, unless it has `max_norm`.

    With `max_norm` the forward pass would write into the weight.
    """

    name: ClassVar = "embedding"
    in_star: ClassVar = False

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return computes_as(module, nn.Embedding) and module.max_norm is None

    def refusal(self, module: nn.Module) -> str | None:
        """With `max_norm`, or a forward pass of its own."""
        from torch import nn

        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.max_norm is not None:
            return "max_norm writes into the weight in every forward pass"
        return why_not(module, nn.Embedding, nn.EmbeddingBag)

    def products(self, module: nn.Module) -> Sequence[Product]:
        """The table."""
        return TABLE

    def forward(self, module: Any, rounding: Rounding, input: Tensor) -> Tensor:
        """From indices to vectors, rounded."""
        from torch.nn import functional

        weight = rounding.round(module.weight, "weight")
        return functional.embedding(
            input, weight, module.padding_idx, None, 2.0, module.scale_grad_by_freq, module.sparse
        )


class EmbeddingBag(LayerSpec):
    """Quantizes the table of `torch.nn.EmbeddingBag`, unless it has `max_norm`."""

    name: ClassVar = "embedding-bag"
    in_star: ClassVar = False

    def adapts(self, module: nn.Module) -> bool:
        """Subclasses included that keep the forward pass."""
        from torch import nn

        return computes_as(module, nn.EmbeddingBag) and module.max_norm is None

    def products(self, module: nn.Module) -> Sequence[Product]:
        """The table."""
        return TABLE

    def forward(
        self,
        module: Any,
        rounding: Rounding,
        input: Tensor,
        offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:
        """The sums, means or maxima of rounded vectors."""
        from torch.nn import functional

        return functional.embedding_bag(
            input,
            rounding.round(module.weight, "weight"),
            offsets,
            scale_grad_by_freq=module.scale_grad_by_freq,
            mode=module.mode,
            sparse=module.sparse,
            per_sample_weights=per_sample_weights,
            include_last_offset=module.include_last_offset,
            padding_idx=module.padding_idx,
        )
