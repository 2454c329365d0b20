"""How long cells of a study take, beside those of another installation, in turn, on one thread.

python benchmarks/cells.py --beside /path/to/other/venv/bin/altgrad

The cells are those of examples/study.toml for one format and its three optimizers. A cell takes the time from the end of the one
before it to its own end, in one worker; so what a study takes to start, the first cell and the report are left out.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from statistics import median

STUDY = Path(__file__).parents[1] / "examples" / "study.toml"
MATRIX = """[matrix]
"optimizer.group[0]" = [
    { use = "adamw", lr = 0.001, weight_decay = 0.0 },
    { use = "manifold-adamw", lr = 0.1, weight_decay = 0.0 },
    { use = "grid", normalize = "rms", lr = 0.1, weight_decay = 0.0 },
]
"run.seed" = [1, 2]
"""
Seconds = dict[str, list[float]]


def train(altgrad: str, folder: Path, into: Seconds) -> None:
    """Train the cells with this command, in a folder of their own; by optimizer, what each took."""
    folder.mkdir()
    manifest = folder / "cells.toml"
    manifest.write_text(STUDY.read_text().partition("[matrix]")[0] + MATRIX)
    command = [altgrad, "run", manifest.name, "--jobs", "1", "--out", "cells"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    ends = sorted((path.stat().st_mtime, path.parent) for path in (folder / "cells").glob("*/summary.json"))
    for (before, _), (end, cell) in pairwise(ends):
        group = (cell / "resolved.toml").read_text().partition("[[optimizer.group]]")[2]
        into[re.findall(r'^use = "([^"]*)"', group, re.MULTILINE)[0]].append(end - before)


def main() -> None:
    """Train the cells by both, round after round, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", required=True, help="the command altgrad of another installation")
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    here, there = str(Path(sys.executable).parent / "altgrad"), given.beside
    seconds: dict[str, Seconds] = {here: defaultdict(list), there: defaultdict(list)}
    with tempfile.TemporaryDirectory() as scratch:
        for each in range(given.rounds):
            for number, altgrad in enumerate((here, there)):
                train(altgrad, Path(scratch) / f"{each}-{number}", seconds[altgrad])
    print(
        "| optimizer | seconds here, least and median | there | cells an hour, here over there: of the least, of the medians |"
    )
    print("|---|---|---|---|")
    for optimizer, mine in seconds[here].items():
        theirs = seconds[there][optimizer]
        cells = [f"{min(own):.2f}, {median(own):.2f}" for own in (mine, theirs)]
        print(
            f"| {optimizer} | {' | '.join(cells)} | {min(theirs) / min(mine):.2f}, {median(theirs) / median(mine):.2f} |"
        )


if __name__ == "__main__":
    main()
