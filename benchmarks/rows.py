"""The rows of `quantize.py`: what is done to a tensor, by whom, and where it lies."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Literal

import torch
from contender import Contender, CurvedTable, Place, Prepare, Run
from peers import contenders as peer_contenders
from torch import Tensor

import altgrad_core as ag
from altgrad_core.numerics.backends import reference

COLUMNS = 1024  # of the tensor; rows and blocks run along them
OURS, REFERENCE = "AltGrad", "AltGrad, the reference"
NARROW = "copy, bfloat16"


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
        return lambda: ag.quantize(place.x, row.how, scale=scale, key=key, out=place.out).values

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


def kind(contender: Contender, table: dict[str, Row]) -> str:
    """Which of the `places` a contender works on."""
    if contender.row in table:
        return table[contender.row].kind
    return "bfloat16" if contender.row == NARROW else "values"
