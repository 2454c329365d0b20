"""How often a CUDA device would be asked to do something: launches and waits of quantizing, of layers and of a step.

    python benchmarks/launches.py [--layers 12] [--width 768] [--names]

Needs no GPU: tensors have no numbers, and launches are written down instead of being made. An operation of torch counts as
one launch; views and allocations as none. A wait is a number that the host reads from the device, or a copy to it that the host
waits for. A GPU takes some 5 microseconds to be asked, whatever for: 1,000 launches are 5 ms.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from altgrad_nanogpt import NanoGPT
from torch import nn
from torch.nn.functional import cross_entropy

import altgrad_core as ag
from altgrad_core.testing.launches import Log, counted

DEVICE = "meta"
VOCABULARY, LENGTH, BATCH = 50_304, 1024, 8
MONITORS = ("flips", "stability", "quantization-error", "displacement", "code-use")
"""Those of the example study whose work their numbers do not decide; the first two look at every step."""


class Count(NamedTuple):
    """What something took, and the most launches it is to take."""

    log: Log
    most: int | None


def count(run: Callable[[], Any], *, warm: int = 1, most: int | None = None) -> Count:
    """Of one call, after some that fill caches and histories."""
    with counted():
        for _ in range(warm):
            run()
    with counted() as log:
        run()
    return Count(log, most)


def quantizing() -> Iterator[tuple[str, Count]]:
    """One tensor of 1024 by 768."""
    x, given = torch.empty(1024, 768, device=DEVICE), torch.empty((), device=DEVICE)
    e4m3 = ag.load_format("e4m3")
    hows: dict[str, tuple[ag.Quantizer, torch.Tensor | None, int]] = {
        "quantize, no scaling": (ag.Quantizer(e4m3, scaling="none"), None, 1),
        "quantize, a scale of earlier steps": (ag.Quantizer(e4m3, scaling="delayed"), given, 1),
        "quantize, amax": (ag.Quantizer(e4m3), None, 2),
        "quantize, amax, stochastic": (ag.Quantizer(e4m3, "stochastic"), None, 2),
        "quantize, rows": (ag.Quantizer(e4m3, scaling=ag.Scaling(granularity="row")), None, 1),
        "quantize, blocks of 32": (ag.Quantizer(e4m3, scaling=ag.Scaling(granularity="block:32")), None, 1),
        "quantize, tiles of 128x128": (ag.Quantizer(e4m3, scaling=ag.Scaling(granularity="tile:128x128")), None, 1),
    }
    for name, (how, scale, most) in hows.items():
        yield name, count(lambda how=how, scale=scale: ag.quantize(x, how, scale=scale, key=1), most=most)  # type: ignore[misc]


def rule() -> ag.Rule:
    """All three operands of the layers of the blocks, as the study has them."""
    e4m3, e5m2 = ag.load_format("e4m3"), ag.load_format("e5m2")
    return ag.Rule(
        layers="*",
        weight=ag.Quantizer(e4m3),
        activation=ag.Quantizer(e4m3, scaling="delayed"),
        gradient=ag.Quantizer(e5m2, "stochastic", "delayed"),
    )


def linear() -> Count:
    """Forward and backward of one quantized linear layer."""
    layer = nn.Sequential(nn.Linear(768, 768, bias=False, device=DEVICE))
    plan = ag.quantize_model(layer, [rule()])
    x = torch.empty(64, 768, device=DEVICE, requires_grad=True)
    gradient = torch.empty(64, 768, device=DEVICE)

    def run() -> None:
        layer(x).backward(gradient)
        layer[0].weight.grad = x.grad = None

    with counted():
        for _ in range(3):
            run()
            plan.step()
    return count(run, warm=0, most=12)


def program() -> Count:
    """A step of a program that trains, of one quantized linear layer."""
    layer = nn.Sequential(nn.Linear(768, 768, bias=False))
    module = ag.training_program(ag.quantize_model(layer, [rule()]), torch.zeros(64, 768)).module().to(DEVICE)
    optimizer, x = torch.optim.SGD(module.parameters(), lr=0.1), torch.empty(64, 768, device=DEVICE)

    def run() -> None:
        module(x).backward(torch.empty(64, 768, device=DEVICE))
        optimizer.step()
        optimizer.zero_grad()
        ag.step_program(module)

    return count(run)


def moves() -> Iterator[tuple[str, Count]]:
    """One optimizer step of one weight."""
    weight, gradient, direction = (torch.empty(768, 768, device=DEVICE) for _ in range(3))
    grid, state = ag.Geometry.of(ag.load_format("e4m3"), torch.empty((), device=DEVICE)), {}
    ag.begin_moments(state, weight)
    adam = {"rungs": 0.1, "betas": (0.9, 0.95), "eps": 1e-8}
    yield "adam_walk", count(lambda: ag.adam_walk(weight, gradient, state, grid, **adam), most=1)
    many = {"gradient": gradient, "rungs": 0.1, "momentum": 0.9}
    yield "walk", count(lambda: ag.walk(weight, direction, grid, **many), most=1)
    yield "stochastic_walk", count(lambda: ag.stochastic_walk(weight, direction, grid, key=1, **many), most=1)


def step(layers: int, width: int, *monitors: str, every: int = 1) -> Count:
    """Forward, backward and update of a GPT whose blocks are quantized, and the end of a step that monitors look at.

    Args:
        every: of the monitors; where it is not 1, none of them reports in the step that is counted.
    """
    with torch.device(DEVICE):
        model = NanoGPT(n_layer=layers, n_head=max(1, width // 64), n_embd=width, block_size=LENGTH).build(VOCABULARY)
    plan = ag.quantize_model(model, [replace(rule(), layers="blocks.*")])
    optimizer = ag.build_optimizer("manifold-adamw", params=plan.params(), lr=0.01)
    tokens = torch.zeros(BATCH, LENGTH, dtype=torch.int64, device=DEVICE)

    place = TemporaryDirectory(prefix="altgrad-")
    watch = ag.watch(model, optimizer, monitors=monitors, every=every, out=Path(place.name, "w")) if monitors else None

    def run() -> None:
        loss = cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        plan.step()
        if watch is not None:
            watch.step(loss)

    most = None if layers != 12 or (monitors and every == 1) else 1500
    with place:
        return count(run, warm=5, most=most)  # contents are compared at the first looks


def watched(layers: int, width: int) -> Iterator[tuple[str, Count]]:
    """A step with the monitors of the study, and for each of them one in which it reports on every layer."""
    together = "the same, with these monitors, in a step in which none reports"
    yield together, step(layers, width, *MONITORS, every=1000)
    for name in MONITORS:
        yield f"the same, in which `{name}` reports", step(layers, width, name)


def rows(layers: int, width: int) -> Iterator[tuple[str, Count]]:
    """All of the table."""
    yield from quantizing()
    yield "a quantized linear layer, forward and backward", linear()
    yield "a step of a program that trains, of one such layer", program()
    yield from moves()
    yield f"a step of a GPT of {layers} layers, {width} wide", step(layers, width)
    yield from watched(layers, width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--names", action="store_true", help="of what is launched in the step")
    wanted = parser.parse_args()
    print("| | launches | of them AltGrad's kernels | goal | waits |\n|---|---|---|---|---|")
    for name, (log, most) in rows(wanted.layers, wanted.width):
        print(
            f"| {name} | {log.launches} | {len(log.kernels)} | {most or ''} | {sum(log.waits.values())} |", flush=True
        )
    if wanted.names:
        print("\n".join(["", *log.lines(), *(f"wait {name}: {times}" for name, times in log.waits.items())]))


if __name__ == "__main__":
    main()
