"""Coverage counts the products of kernels that torch's own counter does not know."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import altgrad_core as ag
from altgrad_core.running.model.kernel_products import kernel_formulas

E4M3 = ag.Quantizer("e4m3")
X = torch.randn(3, 5, 8)


class Then(nn.Module):
    """A module or function, then a layer of 8 x 4 elements."""

    def __init__(self, first: Callable[[Tensor], Tensor | tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.first, self.head = first, nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Its first result, through the layer."""
        result = self.first(x)
        return self.head(result if isinstance(result, Tensor) else result[0])


class Twice(nn.Bilinear):
    """A bilinear form of one input."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Of `x` and `x`."""
        return super().forward(x, x)


class Attention(nn.MultiheadAttention):
    """Self-attention of one input."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Of `x`."""
        return super().forward(x, x, x, need_weights=False)[0]


ENCODER = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
ATTENTION = 4 * 8 * 8 + 2 * 5 * 8  # for each position
CASES = {
    "lstm": (nn.LSTM(8, 8, 2, batch_first=True), 2 * (4 * 8 * 8 + 4 * 8 * 8)),
    "both directions": (nn.LSTM(8, 4, bidirectional=True), 2 * (4 * 4 * 8 + 4 * 4 * 4)),
    "gru": (nn.GRU(8, 8), 3 * 8 * 8 + 3 * 8 * 8),
    "projected lstm": (nn.LSTM(8, 16, proj_size=8), 4 * 16 * 8 + 4 * 16 * 8 + 8 * 16),
    "bilinear": (Twice(8, 8, 8), 8 * 8 * 8),
    "attention": (Attention(8, 2, batch_first=True), ATTENTION),
    "encoder layer": (ENCODER, ATTENTION + 2 * 8 * 16),
    "encoder": (nn.TransformerEncoder(ENCODER, 2), 2 * (ATTENTION + 2 * 8 * 16)),
    "matrix and vector": (lambda x: x * (x @ x[0, 0]).unsqueeze(-1), 8),
    "sum of products": (lambda x: x + torch.addbmm(torch.zeros(5, 5), x, x.mT).sum(), 5 * 8),
}


@pytest.mark.parametrize("case", CASES)
def test_the_multiply_adds_of_fused_kernels_are_counted(case: str) -> None:
    first, expected = CASES[case]
    plan = ag.quantize_model(Then(first), [ag.Rule("head", weight=E4M3)])
    found = plan.coverage(X)
    assert found.multiply_adds == pytest.approx(32 / (32 + expected))
    assert sum(part.multiply_adds for part in found.uncovered) == 15 * expected


def test_the_products_of_grouped_experts_are_counted() -> None:
    torch.manual_seed(0)
    experts, ends = torch.randn(2, 8, 8, dtype=torch.bfloat16), torch.tensor([8, 15], dtype=torch.int32)

    def grouped(x: Tensor) -> Tensor:
        return torch._grouped_mm(x.flatten(0, 1).bfloat16(), experts, offs=ends).float()

    plan = ag.quantize_model(Then(grouped), [ag.Rule("head", weight=E4M3)])
    assert plan.coverage(X).multiply_adds == pytest.approx(32 / (32 + 64))


def test_counting_leaves_the_fused_path_of_attention_as_it_was() -> None:
    plan = ag.quantize_model(Then(ENCODER), [ag.Rule("head", weight=E4M3)])
    try:
        for enabled in (True, False):
            torch.backends.mha.set_fastpath_enabled(enabled)
            plan.coverage(X)
            assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_the_recurrent_kernel_of_gpus_is_counted() -> None:
    def zeros(*shape: int) -> Tensor:
        return torch.zeros(*shape, device="meta")

    weights, state = [zeros(32, 8), zeros(32, 8), zeros(32), zeros(32)], zeros(1, 3, 8)
    with FlopCounterMode(display=False, custom_mapping=kernel_formulas()) as counter:
        torch.ops.aten._cudnn_rnn(
            zeros(5, 3, 8), weights, 4, None, state, state, 2, 8, 0, 1, False, 0.0, False, False, [], None
        )
    assert counter.get_total_flops() == 2 * 15 * 2 * 32 * 8
