"""Kernels compiled ahead of time for a GPU that need not be there, and what their machine code says of them."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple

import torch

from altgrad_core.testing.launches import Launch

TYPES = {
    torch.float32: "*fp32", torch.float16: "*fp16", torch.int32: "*i32", torch.int16: "*i16", torch.int64: "*i64",
    torch.uint8: "*u8", torch.float64: "*fp64",
}  # fmt: skip
DIVISIBLE = [["tt.divisibility", 16]]


class Compiled(NamedTuple):
    """One kernel as machine code.

    Attributes:
        ptx, sass: its text.
        registers, stack: for each thread; bytes of stack.
    """

    ptx: str
    sass: str
    registers: int
    stack: int

    def fewest(self) -> Counter[str]:
        """The machine instructions on the shortest way from beginning to end, where nothing rare happens, by opcode."""
        code, labels = _instructions(self.sass)
        ways: list[tuple[int, int, tuple[int, int] | None]] = [(0, 0, None)]
        came: dict[int, int | None] = {}
        while ways:
            steps, place, origin = heappop(ways)
            if place in came:
                continue
            came[place] = origin[1] if origin else None
            guard, opcode, rest = code[place]
            if opcode == "EXIT" and not guard:
                break
            target = re.search(r"\((\.L_x_\d+)\)", rest) if opcode.startswith("BRA") else None
            if target:
                heappush(ways, (steps + 1, labels[target[1]], (steps, place)))
            if place + 1 < len(code) and (guard or not opcode.startswith(("BRA", "RET"))):
                heappush(ways, (steps + 1, place + 1, (steps, place)))
        way, step = Counter[str](), place
        while step is not None:
            way[code[step][1]] += 1
            step = came[step]  # type: ignore[assignment]
        return way

    def opcodes(self) -> Counter[str]:
        """How often each machine instruction is in the text, with its modifiers."""
        result = re.findall(r"^\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][A-Z0-9_.]*)", self.sass, re.M)
        return Counter(result)


def compile_for(launch: Launch, capability: int) -> Compiled:
    """Compile what was launched for this compute capability (80, 90), for just these types and constants."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = [name for name in launch.kernel.arg_names if name not in launch.constants]
    constants = {name: value for name, value in launch.constants.items() if name in launch.kernel.arg_names}
    options = {name: value for name, value in launch.constants.items() if name not in constants}
    signature, attributes = dict.fromkeys(constants, "constexpr"), {}
    for name, value in zip(names, launch.arguments, strict=True):
        place = (launch.kernel.arg_names.index(name),)
        if isinstance(value, torch.Tensor):
            signature[name], attributes[place] = TYPES[value.dtype], DIVISIBLE
        elif value == 1 and isinstance(value, int) and not launch.kernel.params[place[0]].do_not_specialize:
            signature[name], constants[name] = "constexpr", 1
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32" if abs(value) < 2**31 else "i64"
            is_free = not launch.kernel.params[place[0]].do_not_specialize and isinstance(value, int)
            attributes |= {place: DIVISIBLE} if is_free and value % 16 == 0 else {}
    ordered = {name: signature[name] for name in launch.kernel.arg_names}
    source = ASTSource(launch.kernel, ordered, constants, attributes)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    return _read(made)


def _read(made: Any) -> Compiled:
    import triton

    tools = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        usage = _output_of(tools / "cuobjdump", "-res-usage", file.name)
        sass = _output_of(tools / "nvdisasm", "-c", file.name)
    numbers = {key: int(number) for key, number in re.findall(r"(REG|STACK):(\d+)", usage)}
    return Compiled(made.asm["ptx"], sass, numbers["REG"], numbers["STACK"])


def _instructions(sass: str) -> tuple[list[tuple[str, str, str]], dict[str, int]]:
    """Each as its guard, opcode and operands; and which instruction each label stands before."""
    code: list[tuple[str, str, str]] = []
    labels: dict[str, int] = {}
    for line in sass.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif result := re.match(r"\s+/\*[0-9a-f]+\*/\s+(@!?U?P\w+ )?\s*([A-Z][A-Z0-9_.]*)(.*)", line):
            code.append((result[1] or "", result[2], result[3]))
    return code, labels


def _output_of(*command: str | Path) -> str:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout
