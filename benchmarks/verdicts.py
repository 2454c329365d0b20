"""Whether what a contender gives is what the decode table says."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch
from contender import Contender, Place, Run
from rows import COLUMNS, OURS, Row, places
from torch import Tensor

import altgrad_core as ag
from altgrad_core.numerics.backends import reference

PROBE = 16  # log2 of the values that a verdict is about


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
    return Verdict(compared(row, contender.who, place, got), _seconds(run))


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


def _seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start
