"""One training step of models with other layers than linear ones, quantized over unquantized: process CPU time.

    python benchmarks/layer_kinds.py [--rounds 15]

The steps are interleaved; the ratio is the median over rounds, as in `step.py`. A second table has what further roles and
transforms cost on the same GPT, over its linear layers in the plain recipe; the same recipe a second time shows the noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import step
import torch
from torch import Tensor, nn

import altgrad_core as ag

E4M3, E5M2 = ag.Quantizer("e4m3", scaling="delayed"), ag.Quantizer("e5m2", scaling="delayed")
ROLES = ag.Rule("*", weight=E4M3, activation=E4M3, gradient=E5M2)
ATTENTION = ag.Rule("*", query=E4M3, key=E4M3, probability=E4M3, value=E4M3, score_gradient=E5M2, output_gradient=E5M2)
BLOCKS = ag.Quantizer("e4m3", scaling=ag.Scaling(granularity="block:128"))


class Case(NamedTuple):
    """A model, what it is called with, and its recipe."""

    build: Callable[[], nn.Module]
    example: Callable[[], Tensor]
    rules: tuple[ag.Rule, ...]


def convolutions() -> nn.Module:
    """Three convolutions, 32 to 64 channels, on images of 32 x 32."""
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def table() -> nn.Module:
    """A table of 8,192 vectors and one linear layer."""
    return nn.Sequential(nn.Embedding(8192, 128), nn.Linear(128, 128))


def gpt() -> nn.Module:
    """That of `step.py`."""
    return step.model_of("4 layers, 128 wide")


def bytes_() -> Tensor:
    """2,048 tokens in sequences of 128."""
    return torch.randint(0, step.VOCABULARY, (step.TOKENS // step.LENGTH, step.LENGTH))


CASES = {
    "convolutions": Case(convolutions, lambda: torch.randn(16, 3, 32, 32), (ROLES,)),
    "embedding and linear": Case(table, lambda: torch.randint(0, 8192, (2048,)), (ROLES, ag.Rule("0", weight=E4M3))),
    "GPT, linear layers": Case(gpt, bytes_, (ROLES,)),
    "GPT, linear layers and attention": Case(gpt, bytes_, (ROLES, ATTENTION)),
    "GPT, linear layers and moments": Case(gpt, bytes_, (ROLES, ag.Rule("*", moment=BLOCKS))),
}

E4M3_ROTATED, E5M2_ROTATED = replace(E4M3, hadamard=32), replace(E5M2, hadamard=32)
APART = ag.Rule(
    "*", weight_for_input_gradient=E4M3, activation_for_weight_gradient=E4M3, gradient_for_weight_gradient=E5M2
)
ROTATED = ag.Rule("*", activation_for_weight_gradient=E4M3_ROTATED, gradient_for_weight_gradient=E5M2_ROTATED)
FURTHER = {
    "the same": (ROLES,),
    "attention: six roles": (ROLES, ATTENTION),
    "operands of dX and dW rounded apart": (ROLES, APART),
    "the same, those of dW in the basis of a Hadamard transform of 32": (ROLES, APART, ROTATED),
    "forward operands in the basis of a Hadamard transform of 32": (
        ROLES,
        ag.Rule("*", weight=E4M3_ROTATED, activation=E4M3_ROTATED),
    ),
}


def step_of(case: Case, *, quantized: bool) -> Callable[[], object]:
    """Forward, backward, AdamW."""
    torch.manual_seed(0)
    model, x = case.build(), case.example()
    plan = ag.quantize_model(model, list(case.rules)) if quantized else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    if plan is not None:
        plan.attach(optimizer)

    def take() -> None:
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return take


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    torch.set_num_threads(1)
    print(f"one thread, torch {torch.__version__}\n")
    print("| model | unquantized ms | quantized ms | over unquantized |\n|---|---|---|---|")
    for name, case in CASES.items():
        (plain, quantized), ratio = step.ratios([step_of(case, quantized=q) for q in (False, True)], given.rounds)
        print(f"| {name} | {plain:.1f} | {quantized:.1f} | {ratio:.3f} |", flush=True)
    print("\n| recipe | plain recipe ms | this one ms | over the plain recipe |\n|---|---|---|---|")
    for name, rules in FURTHER.items():
        pair = [step_of(CASES["GPT, linear layers"]._replace(rules=r), quantized=True) for r in ((ROLES,), rules)]
        (plain, other), ratio = step.ratios(pair, given.rounds)
        print(f"| {name} | {plain:.1f} | {other:.1f} | {ratio:.3f} |", flush=True)


if __name__ == "__main__":
    main()
