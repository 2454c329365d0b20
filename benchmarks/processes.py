"""Tokens a second of one process and of two, with gradients added exactly and fast, in turn.

python benchmarks/processes.py --rounds 3

A 6-layer 384-wide GPT, its weights, activations and gradients quantized, 2 micro-batches of 1,024 tokens a step, one thread
in each process. Every run is a command of its own; its first steps, which compile, do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

STEPS, WARM = 6, 2
MANIFEST = f"""
run = {{ steps = {STEPS}, evaluate_every = 1000, evaluate_batches = 1, checkpoint_every = 1000, threads = 1 }}
model = {{ use = "nanogpt", n_layer = 6, n_head = 6, n_embd = 384, block_size = 128 }}
data = {{ use = "synthetic", tokens = 200000, batch_size = 8, accumulate = 2 }}
optimizer = {{ use = "manifold-adamw", lr = 0.01 }}
recipe = [{{ layers = "blocks.*", weight = "e4m3", activation = "e4m3", gradient = "e5m2" }}]
"""
WAYS = {
    "1 process": (),
    "2, exact": ("--processes", "2"),
    "2, fast": ("--processes", "2", "--set", 'run.reduce="fast"'),
}


def seconds_of_a_step(folder: Path, name: str, options: tuple[str, ...]) -> float:
    """The shortest of the steps after the first ones, by the clock of the run."""
    out = folder / name
    command = [sys.executable, "-m", "altgrad_core", "run", str(folder / "m.toml"), "--out", str(out), "--overwrite"]
    subprocess.run([*command, *options], stdout=subprocess.DEVNULL, check=True)
    lines = map(json.loads, (out / "clock.jsonl").read_text().splitlines())
    ends = [line["seconds"] for line in lines if line["kind"] == "clock"]
    return min(later - earlier for earlier, later in pairwise(ends[WARM - 1 :]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    os.environ["OMP_NUM_THREADS"] = "1"
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "m.toml").write_text(MANIFEST)
        for _ in range(rounds):
            for name, options in WAYS.items():
                taken[name].append(seconds_of_a_step(Path(folder), name, options))
                print(json.dumps({name: taken[name][-1]}), flush=True)
    print("| | seconds a step, median | against 1 process |\n|---|---|---|")
    for name, seconds in taken.items():
        ratios = [alone / own for alone, own in zip(taken["1 process"], seconds, strict=True)]
        print(f"| {name} | {statistics.median(seconds):.2f} | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
