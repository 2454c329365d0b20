"""Fake-quantize one tensor, side by side in one process: time over that of copying it between two warm tensors.

    python benchmarks/quantize.py [--sizes 16 18 20 22 24 26] [--threads 1 2] [--plot FILE] [--markdown FILE]

Prints markdown tables: process CPU time on one thread, wall clock on more, the minimum of interleaved rounds. What is
too slow for a size shows "-" there. Peers are those that are installed; see `peers.py`.
"""

from __future__ import annotations

import argparse
import math
import mmap
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Literal

import torch
from peers import CANNOT, PEERS, Contender, CurvedTable, Place, Prepare, Run
from peers import contenders as peer_contenders
from torch import Tensor

import altgrad_core as ag
from altgrad_core.numerics import reference

COLUMNS = 1024  # of the tensor; rows and blocks run along them
ROUNDS = 15
SAMPLE = 2e-3  # seconds that one sample takes at least, by repeating the call
TOO_SLOW = 1.0  # seconds: a call that takes longer is not measured
BUDGET = 2.0  # seconds after which a contender takes part in no further round at this size
Seconds = dict[int, dict[Contender, float]]  # of one call, by log2 of the size
OURS, REFERENCE = "AltGrad", "AltGrad, the reference"
NARROW = "copy, bfloat16"
PROBE = 16  # log2 of the values that a verdict is about
MARKERS = dict(zip((OURS, *PEERS), " os^v<xD", strict=True))  # of the plot


@dataclass(frozen=True)
class Row:
    """What is done to the tensor, whoever does it.

    Attributes:
        how: the quantizer that says which numbers are right.
        scale: the scale that is given, or None where it comes from amax.
        kind: `values`, fake quantization; `bfloat16`, the same from and to that type; `encode`; `decode`.
        group: the panel of the plot.
    """

    how: ag.Quantizer
    scale: float | None = 1.0
    kind: Literal["values", "bfloat16", "encode", "decode"] = "values"
    group: str = "roundings and kinds"

    @property
    def given(self) -> Tensor | None:
        """The given scale as a tensor."""
        return None if self.scale is None else torch.tensor(self.scale)

    @property
    def key(self) -> int | None:
        """The key of the random stream, where there is one."""
        return 7 if self.how.rounding == "stochastic" else None


def rows() -> dict[str, Row]:
    """Every row by its name, in the order of the table."""
    e4m3 = ag.load_format("e4m3")

    def nearest(format: ag.Format) -> Row:
        return Row(ag.Quantizer(format, scaling="none"), group="nearest-even, scale given, with counts")

    def scaled(format: ag.Format = e4m3, **rule: str) -> Row:
        scaling = ag.Scaling(**rule)  # type: ignore[arg-type]
        return Row(ag.Quantizer(format, scaling=scaling), None, group="scale from amax, with counts")

    plain = ag.Quantizer(e4m3, scaling="none")
    modes = ("toward-zero", "toward-positive", "toward-negative", "nearest-away", "stochastic")
    return {
        **{name: nearest(ag.load_format(name)) for name in ("e5m2", "e4m3", "e3m4", "e7m0", "e0m7")},
        "a table of 256 values": nearest(CurvedTable()),
        **{f"e4m3, {mode}": Row(ag.Quantizer(e4m3, mode, "none")) for mode in modes},  # type: ignore[arg-type]
        "e4m3, given scale 0.3": Row(plain, 0.3),
        "e4m3, bfloat16 in and out": Row(plain, kind="bfloat16"),
        "encode e4m3": Row(plain, kind="encode"),
        "decode e4m3": Row(plain, kind="decode"),
        "e4m3, tensor amax": scaled(),
        "e4m3, tensor amax, exact": scaled(rounding="exact"),
        "e4m3, row amax": scaled(granularity="row"),
        "e4m3, row amax, exact": scaled(granularity="row", rounding="exact"),
        "e4m3, block:32, E8M0 (MX)": scaled(granularity="block:32", rounding="mx-floor", scale_format="e8m0"),
        "e4m3, block:16, exact": scaled(granularity="block:16", rounding="exact"),
        "e2m1, block:16, E4M3 (NVFP4)": scaled(
            ag.load_format("e2m1"), granularity="block:16", rounding="exact", scale_format="e4m3"
        ),
    }


def ours(row: Row) -> Prepare:
    """The public call for a row, into an output made beforehand."""
    format, scale, key = row.how.target, row.given, row.key

    def prepare(place: Place) -> Run:
        if row.kind == "encode":
            return lambda: ag.encode(place.x, format, out=place.out)
        if row.kind == "decode":
            return lambda: ag.decode(place.x, format, out=place.out)
        return lambda: row.how.quantize(place.x, scale=scale, key=key, out=place.out).values

    return prepare


def by_reference(row: Row) -> Prepare:
    """The slow and obvious way, the judge."""
    return lambda place: lambda: reference.quantize(place.x, row.how, scale=row.given, key=row.key).values


def bare(row: Row) -> Prepare:
    """The bare function, which returns no counts."""
    return lambda place: lambda: ag.fake_quantize(place.x, row.how.target, out=place.out)


def copy(place: Place) -> Run:
    """The yardstick: a copy between two tensors that are warm."""
    return lambda: place.out.copy_(place.x)


def fresh(x: Tensor) -> Tensor:
    """Memory for a tensor like `x` that no one has touched; what `clone` gets is often warm from an earlier call."""
    return torch.frombuffer(mmap.mmap(-1, x.nbytes), dtype=x.dtype).view(x.shape)


def contenders(table: dict[str, Row]) -> list[Contender]:
    """Everything that is timed, row by row: ours first, then the peers."""
    found = [
        Contender("copy", "torch", copy),
        Contender(NARROW, "torch", copy),
        Contender("clone", "torch", lambda place: lambda: place.x.clone()),
        Contender("copy into fresh memory", "torch", lambda place: lambda: fresh(place.x).copy_(place.x)),
    ]
    peers = list(peer_contenders())
    for name, row in table.items():
        found.append(Contender(name, OURS, ours(row)))
        if name == "e4m3":
            found.append(Contender(name, f"{OURS}, `fake_quantize`", bare(row)))
            found.append(Contender(name, REFERENCE, by_reference(row)))
        found += [peer for peer in peers if peer.row == name]
    return found


def places(x: Tensor) -> dict[str, Place]:
    """Where each kind of row reads and writes, all made from the float32 values `x` and warm."""
    codes, values = torch.zeros(x.shape, dtype=torch.uint8), torch.zeros_like(x)
    narrow = x.bfloat16()
    return {
        "values": Place(x, values),
        "bfloat16": Place(narrow, torch.zeros_like(narrow)),
        "encode": Place(x, codes),
        "decode": Place((torch.arange(x.numel()) * 37 % 256).to(torch.uint8).view(x.shape), values),
    }


@dataclass(frozen=True)
class Verdict:
    """Whether the numbers are those of the decode table, in words; and the seconds that 65,536 values take."""

    text: str = ""
    seconds: float = 0.0


def judge(row: Row, contender: Contender) -> Verdict:
    """Compare what a contender gives with the decode table, on values below overflow."""
    place = places(probe(row))[row.kind]
    run = contender.prepare(place)
    got = torch.as_tensor(run()).reshape(place.x.shape).clone()
    return Verdict(compared(row, contender.who, place, got), sample(run, 1, time.process_time))


def compared(row: Row, who: str, place: Place, got: Tensor) -> str:
    """`yes`, or how many differ and where they lie."""
    if row.how.rounding == "stochastic" and not who.startswith(OURS):
        wrong = ~is_neighbour(place.x, got, row.how.target)
        return "own random numbers" + (f"; no neighbour: {described(place.x[wrong], row)}" if wrong.any() else "")
    wanted = expected(row, place)
    wrong = (got.double() != wanted.double()) & ~(got.isnan() & wanted.isnan())
    return f"differ: {described(place.x[wrong], row)}" if wrong.any() else "yes"


def described(x: Tensor, row: Row) -> str:
    """How many values, and either that all are ties or between which magnitudes they lie."""
    values = torch.tensor(row.how.target.grid.values, dtype=torch.float64)
    ties = torch.isin(x.double(), (values[1:] + values[:-1]) / 2)
    where = "all ties" if ties.all() else f"from {x.abs().min():.3g} to {x.abs().max():.3g}"
    return f"{x.numel():,}, {where}"


def probe(row: Row) -> Tensor:
    """65,536 values: every tie and every binade of the format; where amax gives the scale, rows of many magnitudes."""
    random = torch.Generator().manual_seed(3)
    normal = torch.randn(2**PROBE // COLUMNS, COLUMNS, generator=random)
    if row.scale is None:
        return normal * 2.0 ** torch.randint(-8, 8, (len(normal), 1), generator=random)
    grid = row.how.target.grid
    low, high = math.log2(grid.smallest_positive) - 2, math.log2(grid.highest)
    x = 2.0 ** (low + (high - low) * torch.rand(normal.shape, generator=random)) * normal.sign()
    values = torch.tensor(grid.values, dtype=torch.float64)
    ties = ((values[1:] + values[:-1]) / 2).float()
    x.view(-1)[: ties.numel()] = ties
    return x.clamp(grid.lowest, grid.highest) * row.scale


def expected(row: Row, place: Place) -> Tensor:
    """What the decode table has for a place."""
    format, one = row.how.target, torch.ones(())
    if row.kind == "decode":
        return torch.tensor(format.table)[place.x.int()]
    if row.kind == "encode":
        codes = torch.empty_like(place.out)
        reference.encode(place.x, row.how, scale=one, key=None, out=codes)
        return codes
    return reference.quantize(place.x, row.how, scale=row.given, key=row.key).values


def is_neighbour(x: Tensor, got: Tensor, format: ag.Format) -> Tensor:
    """Whether each value is the grid's next at or below, or at or above, what it was rounded from."""
    values = torch.tensor(format.grid.values, dtype=torch.float64)
    above = torch.searchsorted(values, x.double()).clamp(max=len(values) - 1)
    below = (torch.searchsorted(values, x.double(), right=True) - 1).clamp(min=0)
    return (got == values[above]) | (got == values[below])


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


def kind(contender: Contender, table: dict[str, Row]) -> str:
    """Which of the `places` a contender works on."""
    if contender.row in table:
        return table[contender.row].kind
    return "bfloat16" if contender.row == NARROW else "values"


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
