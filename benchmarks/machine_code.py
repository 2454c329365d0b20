"""What CUDA machine code the Triton kernels become: instructions for each element, beside what the memory leaves time for.

    python benchmarks/machine_code.py [--capability 90] [--only CASE ...] [--json]

Needs Triton and no GPU. Instructions are those of the shortest way through a program, where no value is infinite, NaN or
beyond the grid, over the elements of a thread. The roofline is that of an H100 SXM by its data sheet: 3.35 TB/s, and 132
multiprocessors of 128 lanes at 1.755 GHz. A pass that reads and writes 8 bytes an element in float32 then has time for 70
instruction slots on it, half of that, 35, where only half of them do arithmetic at full rate; bfloat16 has half of both.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

import altgrad_core as ag
from altgrad_core.numerics.backends import triton
from altgrad_core.testing.compiled import Compiled, compile_for
from altgrad_core.testing.launches import Launch, counted

DEVICE = "meta"
BUDGET = {torch.float32: 35, torch.bfloat16: 18}
SCALES = {
    "": ag.Scaling("none"),
    ", amax": ag.Scaling("amax"),
    ", exact": ag.Scaling("amax", "exact"),
    ", row": ag.Scaling(granularity="row"),
    ", block:32": ag.Scaling(granularity="block:32"),
    ", tile:128x128": ag.Scaling(granularity="tile:128x128"),
}
APPROXIMATE = ("div.full", "div.approx", "ex2.approx", "rcp.approx", "sqrt.approx", "lg2.approx", "sin.approx")


class Case(NamedTuple):
    """Something to launch, the type of its elements, and the most instructions an element of its last kernel may take."""

    run: Callable[[], Any]
    dtype: torch.dtype
    most: int | None = None


MOST = {
    "float32, e4m3": 20, "float32, e4m3, amax": 24, "bfloat16, e4m3": 19, "bfloat16, e4m3, amax": 22,
    "float32, e4m3, block:32": 46, "bfloat16, e4m3, block:32": 38,
}  # fmt: skip


def cases() -> Iterator[tuple[str, Case]]:
    """Every kernel, by name."""
    e4m3, table = ag.load_format("e4m3"), ag.load_format("e8m0")
    for dtype in (torch.float32, torch.bfloat16):
        x, kind = torch.empty(4096, 4096, dtype=dtype, device=DEVICE), str(dtype).removeprefix("torch.")
        for name, scaling in SCALES.items():
            yield f"{kind}, e4m3{name}", _quantize(x, ag.Quantizer(e4m3, scaling=scaling), f"{kind}, e4m3{name}")
        for mode in ("toward-zero", "nearest-away", "stochastic", "stochastic:4", "to-odd"):
            yield f"{kind}, e4m3, {mode}", _quantize(x, ag.Quantizer(e4m3, mode, "none"), "")
        yield f"{kind}, e8m0, a table", _quantize(x, ag.Quantizer(table, scaling="none"), "")
        for mode in ("stochastic", "stochastic:4"):
            yield f"{kind}, e8m0, a table, {mode}", _quantize(x, ag.Quantizer(table, mode, "none"), "")
        yield f"{kind}, encode e4m3", Case(lambda x=x: ag.encode(x, e4m3), dtype)  # type: ignore[misc]
    for name, shape in (("one value", (1,)), ("33 by 7 values", (33, 7))):
        for how in (ag.Quantizer(e4m3), ag.Quantizer(e4m3, "stochastic", ag.Scaling(granularity="column"))):
            yield f"{name}, {how.rounding}, {how.scale_rule}", _quantize(torch.empty(shape, device=DEVICE), how, "")
    x, key = torch.empty(4096, 4096, device=DEVICE), torch.empty((), dtype=torch.int64, device=DEVICE)
    loaded = lambda: triton.quantize(x, ag.Quantizer(e4m3, "stochastic", "none"), key=key)  # noqa: E731
    yield "float32, e4m3, stochastic, a key on the device", Case(loaded, torch.float32)
    yield "key", Case(lambda: triton.key((1, "rounding", "train", "blocks.0.q", "weight"), 0, key, key), torch.float32)
    codes = torch.empty(4096, 4096, dtype=torch.uint8, device=DEVICE)
    out = torch.empty(codes.shape, device=DEVICE)
    yield "decode e4m3", Case(lambda: ag.decode(codes, e4m3, out=out), torch.float32)
    yield from moves(e4m3)


def _quantize(x: torch.Tensor, how: ag.Quantizer, name: str) -> Case:
    return Case(lambda: ag.quantize(x, how, key=1), x.dtype, MOST.get(name))


def moves(format: ag.Format) -> Iterator[tuple[str, Case]]:
    """The moves of weights."""
    weight, gradient, direction = (torch.empty(768, 768, device=DEVICE) for _ in range(3))
    grid, state = ag.Geometry.of(format, torch.empty((), device=DEVICE)), {}
    ag.begin_moments(state, weight)
    many = {"gradient": gradient, "momentum": 0.9}
    betas = {"betas": (0.9, 0.95), "eps": 1e-8}
    yield "adam_walk", Case(lambda: ag.adam_walk(weight, gradient, state, grid, rungs=0.1, **betas), torch.float32)
    rates = {name: torch.empty((), device=DEVICE) for name in ("rungs", "decay")}
    key = torch.empty((), dtype=torch.int64, device=DEVICE)
    loaded = lambda: ag.adam_walk(weight, gradient, state, grid, **rates, **betas)  # noqa: E731
    yield "adam_walk, rates on the device", Case(loaded, torch.float32)
    drawn = lambda: ag.stochastic_walk(weight, direction, grid, key=key, **rates, **many)  # noqa: E731
    yield "stochastic_walk, rates and key on the device", Case(drawn, torch.float32)
    yield "walk", Case(lambda: ag.walk(weight, direction, grid, rungs=0.1, **many), torch.float32)
    yield "stochastic_walk", Case(lambda: ag.stochastic_walk(weight, direction, grid, key=1, **many), torch.float32)
    for what in ("rung", "position", "spacing"):
        yield what, Case(lambda what=what: getattr(grid, what)(weight), torch.float32)  # type: ignore[misc]
    places = torch.empty(768, 768, dtype=torch.float64, device=DEVICE)
    yield "value", Case(lambda: grid.value(places), torch.float32)
    yield "movement", Case(lambda: grid.movement(weight, direction, gradient), torch.float32)
    yield "update_velocity", Case(lambda: ag.update_velocity(direction, gradient, 0.9), torch.float32)


def elements(launch: Launch) -> float:
    """How many a thread has."""
    constants = launch.constants
    tile = constants["L"].tiles * constants["L"].elements if "L" in constants else 1024
    return float(constants.get("BLOCK", tile)) / (32 * constants["num_warps"])


def facts(name: str, case: Case, launch: Launch, code: Compiled, *, is_last: bool) -> dict[str, Any]:
    """What is shown and tested of one kernel."""
    way = sum(times for opcode, times in code.fewest().items() if opcode != "NOP")
    loads = re.findall(r"ld\.global[.a-z0-9_]*", code.ptx)
    widest = next((width for width in ("v4", "v2") if any(f".{width}." in load for load in loads)), None)
    return {
        "case": name,
        "kernel": launch.kernel.fn.__name__,
        "instructions": None if launch.kernel.fn.__name__ == "key_pass" else round(way / elements(launch), 1),
        "most": case.most if is_last else None,
        "budget": BUDGET[case.dtype],
        "registers": code.registers,
        "stack": code.stack,
        "widest": widest,
        "is_vectorized": widest is not None or launch.arguments[0].numel() % 16 != 0,
        "flushes": ".ftz" in code.ptx,
        "approximates": [word for word in APPROXIMATE if word in code.ptx],
        "contracts": re.search(r"\b(fma|mad)\.(rn|rz|rm|rp)\.f(32|64)", code.ptx) is not None,
    }


def compiled(capability: int, only: list[str] | None) -> Iterator[dict[str, Any]]:
    """The facts of every kernel."""
    with counted() as log:
        launched = {}
        for name, case in cases():
            if only is None or name in only:
                begun = len(log.kernels)
                case.run()
                launched[name] = (case, log.kernels[begun:])
    for name, (case, launches) in launched.items():
        for launch in launches:
            yield facts(name, case, launch, compile_for(launch, capability), is_last=launch is launches[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capability", type=int, default=90, choices=(80, 89, 90))
    parser.add_argument("--only", nargs="+", metavar="CASE")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    found = compiled(wanted.capability, wanted.only)
    if wanted.json:
        print(json.dumps(list(found)))
        return
    print(f"| sm_{wanted.capability} | kernel | instructions per element | budget | registers | spilled | loads |")
    print("|---|---|---|---|---|---|---|")
    for one in found:
        print(
            f"| {one['case']} | {one['kernel']} | {one['instructions'] or ''} | {one['budget']} | {one['registers']} | "
            f"{one['stack']} bytes | {one['widest'] or 'scalar'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
