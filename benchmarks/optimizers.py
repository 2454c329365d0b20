"""One optimizer step over ten million weights, over torch's fused AdamW: process CPU time and memory, side by side.

    python benchmarks/optimizers.py [--rounds 15] [--format e4m3] [--device cpu]

The weights are the matrices of a 6-layer 384-wide GPT, all on the grid of one format, with gradients that stay the same.
The steps are interleaved; the ratio is that of the least times. Memory is what the optimizer keeps, over AdamW's two
float32 a weight.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

import altgrad_core as ag

WIDTH, LAYERS = 384, 6
SHAPES = [(3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH)] * LAYERS
OURS = {
    "manifold-adamw": [
        {},
        {"bit_position": True},
        {"floor": 3},
        {"walk": "linear"},
        {"moments": "carried"},
        {"precondition": "gradient", "lr": 1e-3},
        {"precondition": "off", "lr": 1e-3},
        {"precondition": "off", "lr": 1e-3, "fused": True},
    ],
    "grid": [{}, {"bit_position": True}, {"normalize": "rms", "lr": 0.1}, {"master": "none"}],
    "sgd": [{}],
    "adamw": [{}],
    "adamw-stochastic": [{}],
    "adamw-kahan": [{}],
    "madam": [{}],
    "lns-madam": [{}],
    "lamb": [{}],
}


def weights(device: str) -> list[nn.Parameter]:
    """Ten million weights with gradients."""
    random = torch.Generator().manual_seed(0)
    found = [nn.Parameter((torch.randn(shape, generator=random) * 0.02).to(device)) for shape in SHAPES]
    for parameter in found:
        parameter.grad = (torch.randn(parameter.shape, generator=random) * 1e-3).to(device)
    return found


def built(name: str, options: dict[str, object], format: ag.Format, scaling: ag.Scaling, device: str) -> Optimizer:
    """One of our optimizers over weights of its own, each on the grid of `format` at its own scale."""
    how = ag.Quantizer(format, scaling=scaling)
    model = nn.ModuleList(nn.Linear(shape[1], shape[0], bias=False) for shape in SHAPES)
    for layer, parameter in zip(model, weights(device), strict=True):
        layer.weight = parameter
    plan = ag.quantize_model(model, [ag.Rule("*", weight=how)])
    return ag.build_optimizer(name, plan.params(), **options)


def contenders(format: ag.Format, device: str) -> dict[str, Optimizer]:
    """Every optimizer by what it is called in the table."""
    found: dict[str, Optimizer] = {
        "torch AdamW, fused": torch.optim.AdamW(weights(device), fused=True),
        "torch AdamW, foreach": torch.optim.AdamW(weights(device), foreach=True),
    }
    for name, variants in OURS.items():
        for options in variants:
            said = ", ".join(f"{key} = {value}" for key, value in options.items() if key != "lr")
            found[", ".join(filter(None, (name, said)))] = built(name, options, format, ag.Scaling(), device)
    for scaling in (ag.Scaling(rounding="exact"), ag.Scaling(granularity="row"), ag.Scaling(granularity="block:32")):
        found[f"manifold-adamw, {scaling}"] = built("manifold-adamw", {}, format, scaling, device)
    return found


def measure(optimizers: dict[str, Optimizer], rounds: int, device: str) -> dict[str, float]:
    """The least seconds of each, interleaved; every step begins at the same weights."""
    least, begin = dict.fromkeys(optimizers, float("inf")), weights(device)
    for number in range(rounds + 1):
        for name, optimizer in optimizers.items():
            held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            for parameter, value in zip(held, begin, strict=True):
                parameter.data.copy_(value)
            start = time.process_time() if device == "cpu" else time.perf_counter()
            optimizer.step()
            if device != "cpu":
                torch.cuda.synchronize()
            seconds = (time.process_time() if device == "cpu" else time.perf_counter()) - start
            if number:  # the first one compiles
                least[name] = min(least[name], seconds)
    return least


def kept(optimizer: Optimizer) -> int:
    """Bytes that an optimizer keeps."""
    tensors = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor))
    return sum(tensor.nbytes for tensor in tensors)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--format", default="e4m3")
    options.add_argument("--device", default="cpu")
    given = options.parse_args()
    torch.set_num_threads(1)
    found = contenders(ag.load_format(given.format), given.device)
    least = measure(found, given.rounds, given.device)
    yardstick = least["torch AdamW, fused"]
    count = sum(parameter.numel() for parameter in weights("cpu"))
    print(f"{count:,} weights in {given.format}, one thread, torch {torch.__version__}\n")
    print("| optimizer | ns a weight | over torch's fused AdamW | bytes kept a weight |")
    print("|---|---|---|---|")
    for name, seconds in least.items():
        print(f"| {name} | {1e9 * seconds / count:.2f} | {seconds / yardstick:.2f} | {kept(found[name]) / count:.1f} |")


if __name__ == "__main__":
    main()
