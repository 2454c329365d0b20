"""What monitors cost: process CPU time of a training step with them over one without, side by side in one process.

    python benchmarks/monitors.py [--rounds 8]
    python benchmarks/monitors.py --growth     # how the cost grows from 10^5 to 10^8 parameters, 16 tokens a step

A 6-layer 384-wide GPT, 2048 tokens a step, weights, activations and gradients quantized. Each set of monitors is timed
at steps where all of them report, and at steps where none does; what it costs at a cadence is the mean of the two.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.records.sinks import Records
from altgrad_core.registry.registry import installed
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.loop.loop import Loop
from altgrad_core.running.loop.saver import Saver
from altgrad_core.running.loop.signals import Signals

MANIFEST = """
run = { name = "cost", steps = 100000, device = "cpu", threads = 1 }
model = { use = "nanogpt", n_layer = 6, n_head = 6, n_embd = 384, block_size = 128 }
data = { use = "synthetic", tokens = 400000, batch_size = 16 }
optimizer = { use = "manifold-adamw", lr = 0.05 }
[[recipe]]
layers = "blocks.*"
weight = { format = "e4m3" }
activation = { format = "e4m3", scaling = "delayed" }
gradient = { format = "e5m2", scaling = "delayed" }
"""
SHAPES = {2: (64, 4), 4: (144, 4), 6: (384, 6), 12: (832, 8)}
"""Layers: (width, heads) of models of about 10^5, 10^6, 10^7 and 10^8 parameters."""
NEVER = 99_999
SLOW = {"curvature, alone"}
EVERY_STEP = ("flips", "stability", "gradient-norms")
SETS: dict[str, tuple[tuple[str, ...], int]] = {
    "movement, stability, gradient norms": (EVERY_STEP, 1),
    "stable rank": (("stable-rank",), 100),
    "float32 twin": (("gradient-fidelity",), 100),
}


def everything() -> dict[str, int]:
    """Every installed monitor, with its default cadence."""
    entries = [entry for entry in installed() if entry.kind == "monitor" and entry.plugin.distribution == "altgrad"]
    return {entry.name: entry.item().every for entry in entries}


def loop_of(names: tuple[str, ...], every: int, folder: Path, *settings: str) -> Loop:
    """A run with these monitors, begun."""
    path = folder / "cost.toml"
    path.write_text(MANIFEST + "".join(f'[[monitor]]\nuse = "{name}"\nevery = {every}\n' for name in names))
    run = assemble(resolve(load_manifest(path, settings), installed()))
    directory = RunDirectory(Path(tempfile.mkdtemp(dir=folder)))
    records = Records(directory, trackers=[], show=lambda record: None)
    loop = Loop(run, records, Saver(run, directory, records), Signals())
    run.model.train()
    return loop


def measure(loops: dict[str, Loop], rounds: int) -> dict[str, float]:
    """The median ratio of each to the first, each step of which is taken right after one of the first's."""
    plain, *others = loops
    ratios: dict[str, list[float]] = {plain: [1.0], **{name: [] for name in others}}
    for number in range(1, rounds + 2):
        for name in others:
            if name in SLOW and number != 2:
                continue
            seconds = []
            for loop in (loops[plain], loops[name]):
                start = time.process_time()
                loop._step(loop.run.progress.step + 1)
                seconds.append(time.process_time() - start)
            if number > 1:  # the first step compiles
                ratios[name].append(seconds[1] / seconds[0])
    return {name: statistics.median(found) for name, found in ratios.items()}


def print_growth(rounds: int) -> None:
    """What movement, stability and gradient norms at every step cost models of growing size."""
    print("| parameters | a step without, ms | monitors, ms | ns a parameter |\n|---|---|---|---|")
    for layers, (width, heads) in SHAPES.items():
        shape = [f"model.n_layer={layers}", f"model.n_embd={width}", f"model.n_head={heads}"]
        settings = [*shape, "model.block_size=16", "data.batch_size=1"]
        with tempfile.TemporaryDirectory() as folder:
            plain, watched = (loop_of(names, 1, Path(folder), *settings) for names in ((), EVERY_STEP))
            seconds: list[tuple[float, float]] = []
            for _ in range(rounds + 1):
                pair = []
                for loop in (plain, watched):
                    start = time.process_time()
                    loop._step(loop.run.progress.step + 1)
                    pair.append(time.process_time() - start)
                seconds.append((pair[0], pair[1]))
            step = statistics.median(first for first, _ in seconds[1:])
            extra = statistics.median(second - first for first, second in seconds[1:])
            size = plain.run.parameters()
            print(f"| {size:,} | {1e3 * step:.1f} | {1e3 * extra:.1f} | {1e9 * extra / size:.2f} |", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=8)
    options.add_argument("--growth", action="store_true", help="how the cost grows with the size of the model")
    given = options.parse_args()
    rounds = given.rounds
    torch.set_num_threads(1)
    if given.growth:
        print_growth(rounds)
        return
    cadences = everything()
    sets = {**SETS, **{f"{name}, alone": ((name,), every) for name, every in cadences.items()}}
    with tempfile.TemporaryDirectory() as folder:
        loops = {"none": loop_of((), 1, Path(folder))}
        for name, (names, _) in sets.items():
            loops[name] = loop_of(names, 1, Path(folder))
        loops["all, quiet"] = loop_of(tuple(cadences), NEVER, Path(folder))
        ratios = measure(loops, rounds)
    print("| monitors | every | a step that reports, over one without | on average |")
    print("|---|---|---|---|")
    for name, (_, every) in sets.items():
        print(f"| {name} | {every} | {ratios[name]:.3f} | {1 + (ratios[name] - 1) / every:.3f} |")
    together = ratios["all, quiet"] + sum((ratios[f"{name}, alone"] - 1) / every for name, every in cadences.items())
    print(f"| all together, each at its default cadence | | quiet steps {ratios['all, quiet']:.3f} | {together:.3f} |")


if __name__ == "__main__":
    main()
