"""One training step of a GPT, quantized over unquantized: process CPU time and peak memory, side by side.

    python benchmarks/step.py [--rounds 20] [--profile] [--growth]

Weights, activations and gradients of every block are quantized with delayed scaling (E4M3 and E5M2); the optimizer is
torch's AdamW in both. The steps are interleaved; the ratio is the median over rounds. Memory is the most that tensors
hold at once above what they hold between steps, each model in a process of its own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import altgrad_core as ag

TOKENS, LENGTH, VOCABULARY = 2048, 128, 256
MODELS = {"4 layers, 128 wide": (4, 4, 128), "6 layers, 384 wide": (6, 6, 384)}
GROWTH = [2**k for k in (17, 20, 23, 26)]
Step = Callable[[], object]


class Block(nn.Module):
    """A transformer block as GPT-2 has it, with nothing of ours in it."""

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.c_proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.fc, self.out = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time_, width = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(batch, time_, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.c_proj(mixed.transpose(1, 2).reshape(batch, time_, width))
        return x + self.out(nn.functional.gelu(self.fc(self.ln_2(x))))


def model_of(name: str) -> nn.Module:
    """A GPT over bytes."""
    torch.manual_seed(0)
    layers, heads, width = MODELS[name]
    blocks = nn.Sequential(*(Block(heads, width) for _ in range(layers)))
    model = nn.Sequential()
    model.add_module("wte", nn.Embedding(VOCABULARY, width))
    model.add_module("blocks", blocks)
    model.add_module("lm_head", nn.Linear(width, VOCABULARY, bias=False))
    return model


def step_of(name: str, *, quantized: bool) -> Step:
    """A whole step: forward, backward, update."""
    model = model_of(name)
    plan = ag.quantize_model(model, [rule()]) if quantized else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(0, VOCABULARY, (TOKENS // LENGTH, LENGTH + 1))

    def step() -> None:
        logits = model(tokens[:, :-1])
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        if plan is not None:
            plan.step()

    return step


def rule() -> ag.Rule:
    """All three operands of every linear layer of the blocks."""
    e4m3, e5m2 = ag.load_format("e4m3"), ag.load_format("e5m2")
    inner = ag.Quantizer(e4m3, scaling="delayed")
    return ag.Rule(layers="blocks.*", weight=inner, activation=inner, gradient=ag.Quantizer(e5m2, scaling="delayed"))


def ratios(steps: list[Step], rounds: int) -> tuple[list[float], float]:
    """The median milliseconds of each, and the median ratio of the last to the first, interleaved."""
    taken: list[list[float]] = []
    for number in range(rounds + 2):
        row = []
        for step in steps:
            start = time.process_time()
            step()
            row.append(time.process_time() - start)
        if number >= 2:  # the first steps compile and warm up
            taken.append(row)
    middle = [1e3 * statistics.median(column) for column in zip(*taken, strict=True)]
    return middle, statistics.median(row[-1] / row[0] for row in taken)


def peak(name: str, quantized: bool) -> int:
    """The most bytes that tensors hold at once in a step, above what they hold before it."""
    step = step_of(name, quantized=quantized)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    held = most = 0
    for event in found.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most


def peak_elsewhere(name: str, quantized: bool) -> int:
    """`peak` in a process of its own."""
    command = [sys.executable, __file__, "--peak", name, str(int(quantized))]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def show_profile(name: str) -> None:
    """Where the time of a quantized step goes, by operator, and by our own passes."""
    step = step_of(name, quantized=True)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(5):
            step()
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=40))


def show_growth() -> None:
    """Cost of quantizing one tensor, per element, as it grows."""
    how = ag.Quantizer(ag.load_format("e4m3"), scaling="none")
    print("\n| elements | ns per element |\n|---|---|")
    for size in GROWTH:
        x, out, least = torch.randn(size), torch.empty(size), float("inf")
        for _ in range(max(5, 2**22 // size)):
            start = time.process_time()
            ag.quantize(x, how, out=out)
            least = min(least, time.process_time() - start)
        print(f"| {size:,} | {1e9 * least / size:.3f} |")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--profile", action="store_true", help="show where the time goes")
    options.add_argument("--growth", action="store_true", help="show the cost per element as tensors grow")
    options.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    given = options.parse_args()
    torch.set_num_threads(1)
    if given.peak:
        print(peak(given.peak[0], given.peak[1] == "1"))
        return
    print(f"{TOKENS} tokens a step, one thread, torch {torch.__version__}\n")
    print("| model | unquantized ms | quantized ms | over unquantized | peak memory over unquantized |")
    print("|---|---|---|---|---|")
    for name in MODELS:
        (plain, quantized), ratio = ratios([step_of(name, quantized=q) for q in (False, True)], given.rounds)
        memory = peak_elsewhere(name, True) / peak_elsewhere(name, False)
        print(f"| {name} | {plain:.1f} | {quantized:.1f} | {ratio:.3f} | {memory:.3f} |", flush=True)
    if given.profile:
        show_profile("4 layers, 128 wide")
    if given.growth:
        show_growth()


if __name__ == "__main__":
    main()
