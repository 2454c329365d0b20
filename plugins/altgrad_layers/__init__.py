"""The kinds of layers that torch and Hugging Face models are made of, and how each is quantized."""

from __future__ import annotations

from collections.abc import Iterator

from altgrad_core import LayerSpec, hookimpl
from altgrad_layers.attention import MultiheadAttention
from altgrad_layers.bilinear import Bilinear
from altgrad_layers.conv import Conv, ConvTransposed
from altgrad_layers.dot_product import DotProductAttention
from altgrad_layers.embedding import Embedding, EmbeddingBag
from altgrad_layers.experts import StackedExperts
from altgrad_layers.linear import Conv1D, Linear
from altgrad_layers.norm import LayerNorm
from altgrad_layers.recurrent import Recurrent


@hookimpl
def altgrad_layers() -> Iterator[type[LayerSpec]]:
    """The kinds of this package."""
    yield from (Linear, Conv1D, Conv, ConvTransposed, Embedding, EmbeddingBag, Bilinear, LayerNorm)
    yield from (DotProductAttention, MultiheadAttention, StackedExperts, Recurrent)
