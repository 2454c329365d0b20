"""AltGrad on a CUDA device beside a copy: whether its numbers are those of the CPU, and what they cost.

    python benchmarks/on_gpu.py [--sizes 20 24 26] [--layers 12 --width 768]

Prints markdown: for every row of `quantize.py` that has one tensor in and out, the share of the bandwidth of a copy that
quantizing reaches, and whether values, scales and counts are the bits of the CPU; then the time of a step of a GPT, quantized
over unquantized, beside its launches. Peers are those that are installed: torch's own casts, torchao.
It has not been run: no CUDA device was at hand.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from altgrad_nanogpt import NanoGPT
from torch.nn.functional import cross_entropy

import altgrad_core as ag

ROUNDS, WARM = 30, 5
DEVICE = "cuda"
Run = Callable[[], object]


def milliseconds(run: Run) -> float:
    """The median time of one call by the device's own clock."""
    for _ in range(WARM):
        run()
    times = []
    for _ in range(ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


def quantizers() -> dict[str, ag.Quantizer]:
    """What is measured, by name."""
    e4m3, e5m2 = ag.load_format("e4m3"), ag.load_format("e5m2")
    plain = {
        f"{format.name}, {mode}": ag.Quantizer(format, mode, "none")
        for format in (e4m3, e5m2)
        for mode in ("nearest-even", "toward-zero", "nearest-away", "stochastic", "to-odd")
    }
    scalings = {
        "tensor amax": ag.Scaling(),
        "tensor amax, exact": ag.Scaling(rounding="exact"),
        "rows": ag.Scaling(granularity="row"),
        "columns": ag.Scaling(granularity="column"),
        "MX": ag.Scaling(rounding="mx-floor", granularity="block:32", scale_format="e8m0"),
        "tiles of 128x128": ag.Scaling(granularity="tile:128x128"),
    }
    scaled = {f"e4m3, {name}": ag.Quantizer(e4m3, scaling=scaling) for name, scaling in scalings.items()}
    nvfp4 = ag.Scaling(rounding="exact", granularity="block:16", scale_format="e4m3")
    others = {
        "NVFP4": ag.Quantizer(ag.load_format("e2m1"), scaling=nvfp4),
        "a table": ag.Quantizer(ag.load_format("e8m0")),
    }
    return {**plain, **scaled, **others}


def peers(x: torch.Tensor) -> Iterator[tuple[str, Run]]:
    """Casts to an 8-bit type and back, by those that are installed."""
    if x.dtype in (torch.float32, torch.bfloat16):
        yield "torch, e4m3, cast and back", lambda: x.to(torch.float8_e4m3fn).to(x.dtype)
    try:
        from torchao.quantization.quant_primitives import _choose_scale_float8, _quantize_affine_float8
    except ImportError:
        return
    yield "torchao, e4m3, tensor amax", lambda: _quantize_affine_float8(x, _choose_scale_float8(x, []))


def equals_the_cpu(x: torch.Tensor, how: ag.Quantizer) -> str:
    """Whether the device gives the bits and counts of the CPU; of NaN only that it is one."""
    got, expected = ag.quantize(x, how, key=3), ag.quantize(x.cpu(), how, key=3)
    values, wanted = got.values.cpu(), expected.values
    numbers, kind = ~wanted.isnan(), torch.int32 if x.dtype == torch.float32 else torch.int16
    wrong = int((values.view(kind) != wanted.view(kind))[numbers].sum() + (values.isnan() == numbers).sum())
    if wrong or not torch.equal(got.scale.cpu(), expected.scale):
        return f"no: {wrong} values"
    assert got.tally is not None and expected.tally is not None
    same = [float(n) for n in got.tally] == [float(n) for n in expected.tally]
    return "yes" if same else f"counts differ: {got.tally} and {expected.tally}"


def hard(rows: int, dtype: torch.dtype) -> torch.Tensor:
    """Random bit patterns, NaN and infinities among them, on the device."""
    generator = torch.Generator().manual_seed(0)
    kind = torch.int32 if dtype == torch.float32 else torch.int16
    bound = 2 ** (8 * kind.itemsize - 1)
    return torch.randint(-bound, bound, (rows, 1027), generator=generator).to(kind).view(dtype).to(DEVICE)


def table(sizes: list[int]) -> Iterator[str]:
    """The lines of the table of quantizing."""
    yield "| | type | equals the CPU | " + " | ".join(f"share of a copy, 2^{size}" for size in sizes) + " |"
    yield "|" + "---|" * (3 + len(sizes))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        xs = {size: torch.randn(2**size // 1024, 1024, device=DEVICE, dtype=dtype) for size in sizes}
        yield from lines(xs)


def lines(xs: dict[int, torch.Tensor]) -> Iterator[str]:
    """Those of one type of elements; `xs`: tensors by log2 of their size."""
    outs = {size: torch.empty_like(x) for size, x in xs.items()}
    copies = {size: milliseconds(partial(outs[size].copy_, x)) for size, x in xs.items()}
    dtype = next(iter(xs.values())).dtype
    kind = str(dtype).removeprefix("torch.")
    for name, how in quantizers().items():
        verdict = equals_the_cpu(hard(300, dtype), how)
        times = {size: milliseconds(partial(ag.quantize, x, how, key=1, out=outs[size])) for size, x in xs.items()}
        yield _line(name, kind, verdict, [copies[size] / times[size] for size in xs])
    own = {size: dict(peers(x)) for size, x in xs.items()}
    for name in next(iter(own.values())):
        yield _line(name, kind, "", [copies[size] / milliseconds(own[size][name]) for size in xs])


def _line(name: str, kind: str, verdict: str, shares: list[float]) -> str:
    return f"| {name} | {kind} | {verdict} | " + " | ".join(f"{share:.2f}" for share in shares) + " |"


def step(layers: int, width: int, *, quantized: bool) -> Run:
    """Forward, backward and update of a GPT."""
    torch.manual_seed(0)
    with torch.device(DEVICE):
        model = NanoGPT(n_layer=layers, n_head=max(1, width // 64), n_embd=width, block_size=1024).build(50_304)
        tokens = torch.randint(50_304, (8, 1024))
    e4m3, e5m2 = ag.load_format("e4m3"), ag.load_format("e5m2")
    rule = ag.Rule(
        layers="blocks.*",
        weight=ag.Quantizer(e4m3),
        activation=ag.Quantizer(e4m3, scaling="delayed"),
        gradient=ag.Quantizer(e5m2, "stochastic", "delayed"),
    )
    plan = ag.quantize_model(model, [rule]) if quantized else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def run() -> None:
        cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        if plan is not None:
            plan.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20, 24, 26], help="log2 of the values")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    wanted = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(
            2, "on_gpu.py: torch finds no CUDA device here; benchmarks/launches.py and machine_code.py need none\n"
        )
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    for line in table(wanted.sizes):
        print(line, flush=True)
    plain, ours = (milliseconds(step(wanted.layers, wanted.width, quantized=q)) for q in (False, True))
    print(f"\nA step: {ours:.1f} ms quantized, {plain:.1f} ms unquantized, {ours / plain:.2f} times.\n", flush=True)
    script = str(Path(__file__).with_name("launches.py"))
    subprocess.run([sys.executable, script, "--layers", str(wanted.layers), "--width", str(wanted.width)], check=True)


if __name__ == "__main__":
    main()
