"""Fake-quantize one tensor, side by side in one process: time over that of copying it between two warm tensors.

    python benchmarks/quantize.py [--sizes 16 18 20 22 24 26] [--threads 1 2] [--plot FILE] [--markdown FILE]

Prints markdown tables: process CPU time on one thread, wall clock on more, the minimum of interleaved rounds. What is
too slow for a size shows "-" there. Peers are those that are installed; see `peers.py`.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from importlib import metadata
from pathlib import Path

import torch
from contender import Contender, Run
from peers import CANNOT, PEERS
from rows import COLUMNS, NARROW, OURS, Row, contenders, kind, places, rows
from verdicts import PROBE, Verdict, judge

ROUNDS = 15
SAMPLE = 2e-3  # seconds that one sample takes at least, by repeating the call
TOO_SLOW = 1.0  # seconds: a call that takes longer is not measured
BUDGET = 2.0  # seconds after which a contender takes part in no further round at this size
Seconds = dict[int, dict[Contender, float]]  # of one call, by log2 of the size
MARKERS = dict(zip((OURS, *PEERS), " os^v<xD", strict=True))  # of the plot


def measure(runs: dict[Contender, Run], clock: Callable[[], float]) -> dict[Contender, float]:
    """The least seconds of one call of each, interleaved so that a slow moment of the machine meets all of them."""
    least: dict[Contender, float] = {}
    for contender, run in runs.items():
        run()  # compiles, and touches every page of the output
        least[contender] = sample(run, 1, clock)
    spent = dict(least)
    repeats = {c: max(1, math.ceil(SAMPLE / max(seconds, 1e-6))) for c, seconds in least.items()}
    for _ in range(ROUNDS):
        for contender, run in runs.items():
            if spent[contender] < BUDGET:
                seconds = sample(run, repeats[contender], clock)
                spent[contender] += seconds * repeats[contender]
                least[contender] = min(least[contender], seconds)
    return least


def sample(run: Run, repeats: int, clock: Callable[[], float]) -> float:
    """Seconds of one call, over some in a row."""
    start = clock()
    for _ in range(repeats):
        run()
    return (clock() - start) / repeats


def measure_sizes(verdicts: dict[Contender, Verdict], table: dict[str, Row], sizes: list[int]) -> Seconds:
    """Seconds by size and contender; what is too slow, judged by a smaller size, is left out."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    last = {contender: (PROBE, verdict.seconds) for contender, verdict in verdicts.items()}
    seconds: Seconds = {}
    for size in sizes:
        x = torch.randn(2**size // COLUMNS, COLUMNS, generator=torch.Generator().manual_seed(size))
        where = places(x)
        runs = {c: c.prepare(where[kind(c, table)]) for c in last if estimate(last[c], size) < TOO_SLOW}
        seconds[size] = measure(runs, clock)
        last |= {contender: (size, least) for contender, least in seconds[size].items()}
        print(f"2^{size}, {torch.get_num_threads()} threads: measured {len(runs)}", file=sys.stderr)
    return seconds


def estimate(last: tuple[int, float], size: int) -> float:
    """Seconds at a size, from those at another."""
    return last[1] * 2.0 ** (size - last[0])


def ratios(seconds: Seconds, table: dict[str, Row]) -> dict[Contender, dict[int, float]]:
    """Time over that of the copy of the same type, by contender and size."""
    result: dict[Contender, dict[int, float]] = {}
    for size, least in seconds.items():
        copies = {c.row: s for c, s in least.items()}
        for contender, own in least.items():
            yardstick = copies[NARROW if kind(contender, table) == "bfloat16" else "copy"]
            result.setdefault(contender, {})[size] = own / yardstick
    return result


def speed_table(
    over: dict[Contender, dict[int, float]], seconds: Seconds, verdicts: dict[Contender, Verdict]
) -> Iterator[str]:
    """The lines of the markdown table."""
    sizes = list(seconds)
    shown = 20 if 20 in sizes else sizes[0]
    titles = ["what", "who", *(f"2^{size}" for size in sizes), f"ms at 2^{shown}", "equals the table"]
    yield "| " + " | ".join(titles) + " |"
    yield "|" + "---|" * len(titles)
    for contender, verdict in verdicts.items():
        by_size = over.get(contender, {})
        cells = [f"{by_size[size]:.2f}" if size in by_size else "-" for size in sizes]
        time_there = seconds[shown].get(contender)
        milliseconds = "-" if time_there is None else f"{1e3 * time_there:.3f}"
        yield f"| {contender.row} | {contender.who} | {' | '.join(cells)} | {milliseconds} | {verdict.text} |"


def cannot_table() -> Iterator[str]:
    """The lines of the table of what the peers have no way to do."""
    yield "| peer | cannot |"
    yield "|---|---|"
    yield from (f"| {who} | {what} |" for who, what in CANNOT.items())


def machine() -> str:
    """The processor, the versions and the date."""
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    versions = [f"{name} {version}" for name in ("numba", "numpy", *PEERS) if (version := installed(name))]
    return f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}, {date.today()}"


def installed(name: str) -> str | None:
    """The version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def plot(over: dict[Contender, dict[int, float]], table: dict[str, Row], file: Path) -> None:
    """Ratio over size, log-log, one line for each row of the table; ours solid."""
    try:
        from matplotlib import pyplot
    except ImportError:
        print("no plot: matplotlib is not installed", file=sys.stderr)
        return
    groups = list(dict.fromkeys(row.group for row in table.values()))
    figure, panels = pyplot.subplots(1, len(groups), figsize=(8 * len(groups), 12), sharey=True, layout="constrained")
    for panel, group in zip(panels, groups, strict=True):
        names = [name for name, row in table.items() if row.group == group]
        for contender, by_size in over.items():
            if contender.row in names:
                mine = contender.who == OURS
                panel.plot(
                    [2**size for size in by_size],
                    list(by_size.values()),
                    color=f"C{names.index(contender.row)}",
                    linestyle="-" if mine else "--",
                    linewidth=2.5 if mine else 1,
                    marker=MARKERS.get(contender.who, "+"),
                    label=f"{contender.row}: {contender.who}",
                )
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set(yscale="log", title=group, xlabel="values")
        panel.set_xscale("log", base=2)
        panel.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.07))
    panels[0].set_ylabel("time over that of a copy")
    figure.savefig(file, dpi=110)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[16, 18, 20, 22, 24, 26], help="log2 of the values")
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--plot", type=Path, help="of the first number of threads")
    parser.add_argument("--markdown", type=Path, help="write what is printed here, too")
    return parser.parse_args()


def main() -> None:
    wanted, table = arguments(), rows()
    torch.set_num_threads(1)
    verdicts = {c: judge(table[c.row], c) if c.row in table else Verdict() for c in contenders(table)}
    said = [machine()]
    for index, threads in enumerate(sorted(wanted.threads)):
        torch.set_num_threads(threads)
        seconds = measure_sizes(verdicts, table, sorted(wanted.sizes))
        over = ratios(seconds, table)
        how = "one thread, process CPU time" if threads == 1 else f"{threads} threads, wall clock"
        said += ["", f"Over `out.copy_(x)`, {how}:", "", *speed_table(over, seconds, verdicts)]
        if wanted.plot and index == 0:
            plot(over, table, wanted.plot)
    said += ["", *cannot_table()]
    print("\n".join(said))
    if wanted.markdown:
        wanted.markdown.write_text("\n".join(said) + "\n")


if __name__ == "__main__":
    main()
