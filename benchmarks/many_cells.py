"""How planning, listing, resuming and reporting a study grow with its cells, which are made up of one that was trained.

python benchmarks/many_cells.py 1000 10000 100000 --folder /tmp/many
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from tests.tiny_tables import TINY_GPT, TINY_TOKENS

STUDY = f"""[run]
steps = 20
evaluate_every = 10
{TINY_GPT}{TINY_TOKENS}
[optimizer]
use = "adamw"

[[recipe]]
layers = "blocks.*"
weight = {{ format = "e4m3" }}

[matrix]
optimizer.use = ["adamw", "manifold-adamw"]
"recipe[0].weight.format" = ["e4m3", "e5m2", "e3m4", "e2m5", "e6m1"]
run.seed = SEEDS
"""
PER_SEED = 10
PLACEHOLDER = 987654321  # the seed of a manifest that is written once for all seeds


def written(folder: Path, cells: int) -> Path:
    """The manifest of a study of so many cells."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(STUDY.replace("SEEDS", str(list(range(1, cells // PER_SEED + 1)))))
    return path


def fill(manifest: Path, out: Path, sample: Path) -> None:
    """Make up a finished run for every cell, from the files of one that was trained."""
    import tomlkit

    from altgrad_core.experiments.matrix.cells import Matrix
    from altgrad_core.experiments.matrix.plan import as_json, plan_of
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.registry.registry import installed

    matrix, dice = Matrix(load_manifest(manifest), installed(), most=10**9), random.Random(0)
    cells = matrix.cells({})
    records, summary = (sample / "records.jsonl").read_text(), json.loads((sample / "summary.json").read_text())
    seeded, written = f"seed = {PLACEHOLDER}\n", dict[str, str]()
    out.mkdir()
    shutil.copy(manifest, out / "manifest.toml")
    (out / "cells.json").write_text(as_json(plan_of(matrix, cells)))
    for cell in cells:
        place = out / cell.name
        place.mkdir()
        loss = 2.0 + dice.gauss(0, 0.05)
        manifest_without_seed = {**cell.manifest, "run": {**cell.manifest["run"], "seed": PLACEHOLDER}}
        kind = json.dumps(manifest_without_seed)
        if kind not in written:
            written[kind] = tomlkit.dumps(manifest_without_seed)
            assert written[kind].count(seeded) == 1
        seed = cell.manifest["run"]["seed"]
        (place / "resolved.toml").write_text(written[kind].replace(seeded, f"seed = {seed}\n"))
        (place / "summary.json").write_text(json.dumps({**summary, "name": cell.name, "validation_loss": loss}))
        (place / "records.jsonl").write_text(records)
        shutil.copy(sample / "env.json", place / "env.json")


def measured(*arguments: object) -> tuple[float, float]:
    """Seconds of CPU time and GiB of one command."""
    command = ["/usr/bin/env", sys.executable, __file__, "--one", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def one(arguments: list[str]) -> None:
    """Run one command in this process, and print its CPU time and memory, which other work on the machine hardly changes."""
    from altgrad_core.__main__ import main

    sys.argv = ["altgrad", *arguments]
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20]))
    sys.exit(0 if not code else 1)


def main() -> None:
    if "--one" in sys.argv:
        one(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int, nargs="+")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=["check", "table", "resume", "again", "report"])
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    sample = given.folder / "sample" / "out"
    measured("run", written(given.folder / "sample", PER_SEED), "--out", sample, "--max-cells", 10)
    sample = next(path.parent for path in sorted(sample.glob("*/summary.json")))
    print("| cells | command | CPU seconds | GiB |\n|---|---|---|---|")
    for cells in given.cells:
        folder = given.folder / str(cells)
        manifest, out, most = written(folder, cells), folder / "out", ("--max-cells", 10**9)
        fill(manifest, out, sample)
        commands = {
            "check": ("check", manifest, *most),
            "table": ("check", manifest, "--table", "--out", out, *most),
            "resume": ("run", manifest, "--out", out, *most),
            "again": ("run", manifest, "--out", out, *most),
            "report": ("report", out),
        }
        for name in given.only:
            seconds, memory = measured(*commands[name])
            print(f"| {cells} | {name} | {seconds:.1f} | {memory:.2f} |", flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
