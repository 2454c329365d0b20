"""The laws of layers, on modules of every built-in kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from altgrad_core.registry.registry import installed
from altgrad_core.testing import check_layer


def on(*shape: int) -> Callable[[nn.Module], Tensor]:
    """Calls a module on one random tensor of a shape."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    return lambda module: module(x)


def attended(query: tuple[int, ...], key: tuple[int, ...], **options: Any) -> Callable[[nn.Module], Tensor]:
    """Calls attention on random queries and keys; the same tensor where the shapes are the same."""
    generator = torch.Generator().manual_seed(1)
    q, k = torch.randn(*query, generator=generator), torch.randn(*key, generator=generator)
    return lambda module: module(q, q if query == key else k, q if query == key else k, **options)[0]


class Mixing(nn.Module):
    """Self-attention of one's own, causal, with two heads of queries and one of keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(6, 6), nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (-1, 3)).transpose(1, 2) for part in (self.q, self.k, self.v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return mixed.transpose(1, 2).flatten(-2)


TOKENS = torch.arange(12).reshape(2, 6) % 7
PADDING = torch.tensor([[False] * 4, [False, False, True, True]])
CAUSAL = torch.ones(4, 4, dtype=torch.bool).triu(1)

CASES: dict[str, tuple[str, Callable[[], nn.Module], Callable[[nn.Module], Tensor]]] = {
    "linear": ("linear", lambda: nn.Linear(6, 5), on(3, 6)),
    "linear of one vector": ("linear", lambda: nn.Linear(6, 5), on(6)),
    "linear without a bias": ("linear", lambda: nn.Linear(6, 5, bias=False), on(2, 3, 6)),
    "conv1d": ("conv", lambda: nn.Conv1d(4, 6, 3, padding=1), on(2, 4, 9)),
    "conv2d": ("conv", lambda: nn.Conv2d(4, 6, 3, stride=2, groups=2, bias=False), on(2, 4, 9, 9)),
    "conv2d, circular": ("conv", lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"), on(4, 5, 5)),
    "conv3d": ("conv", lambda: nn.Conv3d(2, 3, 2), on(1, 2, 4, 4, 4)),
    "transposed 1d": ("conv-transposed", lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1), on(2, 4, 9)),
    "transposed 2d": ("conv-transposed", lambda: nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), on(2, 4, 5, 5)),
    "transposed 3d": ("conv-transposed", lambda: nn.ConvTranspose3d(2, 3, 2), on(1, 2, 3, 3, 3)),
    "embedding": ("embedding", lambda: nn.Embedding(7, 4, padding_idx=0), lambda m: m(TOKENS)),
    "embedding bag": ("embedding-bag", lambda: nn.EmbeddingBag(7, 4, mode="sum"), lambda m: m(TOKENS)),
    "layer norm": ("layer-norm", lambda: nn.LayerNorm(6), on(2, 3, 6)),
    "layer norm of two dimensions": ("layer-norm", lambda: nn.LayerNorm((3, 6), bias=False), on(2, 3, 6)),
    "rms norm": ("layer-norm", lambda: nn.RMSNorm(6, eps=1e-3), on(2, 3, 6)),
    "bilinear": ("bilinear", lambda: nn.Bilinear(3, 4, 5), lambda m: m(torch.ones(2, 3) / 3, torch.ones(2, 4) / 7)),
    "attention": ("multihead-attention", lambda: nn.MultiheadAttention(8, 2), attended((4, 2, 8), (4, 2, 8))),
    "attention, masked": (
        "multihead-attention",
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        attended((2, 4, 8), (2, 4, 8), key_padding_mask=PADDING, attn_mask=CAUSAL, need_weights=False),
    ),
    "attention by a caller": ("dot-product-attention", Mixing, on(2, 4, 6)),
    "attention of two": (
        "multihead-attention",
        lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        attended((2, 3, 8), (2, 5, 8)),
    ),
    "attention of two widths": (
        "multihead-attention",
        lambda: nn.MultiheadAttention(8, 2, kdim=6, vdim=6, bias=False, batch_first=True),
        attended((2, 3, 8), (2, 5, 6)),
    ),
    "attention without a batch": ("multihead-attention", lambda: nn.MultiheadAttention(8, 2), attended((4, 8), (4, 8))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_module_of_a_kind_keeps_the_laws(case: str) -> None:
    name, build, call = CASES[case]
    torch.manual_seed(0)
    check_layer(installed().get("layer", name), build(), call)


def test_the_conv1d_of_hugging_face_keeps_the_laws() -> None:
    utils = pytest.importorskip("transformers.pytorch_utils")
    torch.manual_seed(0)
    check_layer(installed().get("layer", "hf-conv1d"), utils.Conv1D(5, 6), on(2, 3, 6))


def test_every_built_in_kind_is_tried() -> None:
    assert {name for name, *_ in CASES.values()} | {"hf-conv1d", "stacked-experts", "recurrent"} == set(
        installed().names("layer")
    )


@pytest.mark.parametrize("case", ["attention", "attention, masked", "attention of two"])
def test_attention_gives_the_weights_that_torch_gives(case: str) -> None:
    import copy

    import altgrad_core as ag

    torch.manual_seed(0)
    module = CASES[case][1]()
    plain = copy.deepcopy(module)
    ag.quantize_model(nn.ModuleDict({"attn": module}), [ag.Rule("*", weight=ag.Quantizer("fp32"))])
    x = torch.randn(2, 2, 8)
    for average in (True, False):
        got, expected = module(x, x, x, average_attn_weights=average), plain(x, x, x, average_attn_weights=average)
        torch.testing.assert_close(got[1], expected[1])
        torch.testing.assert_close(got[0], expected[0])
