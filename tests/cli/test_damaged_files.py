"""Every file of a run or a study, damaged in every way: each command ends at once, says where, and overwrites nothing else."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.patience import ends_soon

if TYPE_CHECKING:
    from tests.conftest import Said

WAYS = ("flip", "truncate", "empty", "remove", "link", "loop", "pipe", "folder", "strange")
STRANGE = [
    b"null\n",
    b"[]\n",
    b"{}\n",
    b"7\n",
    b"\xff\xfe\n",
    b'{"kind":"step"}\n',
    b"[" * 50_000,
    b'{"kind":1,"step":[]}\n',
]


def damaged(path: Path, way: str, elsewhere: Path, chance: random.Random) -> None:
    """Damage one file."""
    raw = bytearray(path.read_bytes())
    path.unlink()
    if way == "flip":
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8) if raw else 0
        path.write_bytes(raw)
    elif way == "truncate":
        path.write_bytes(raw[: chance.randrange(len(raw))])
    elif way == "empty":
        path.touch()
    elif way == "link":
        path.symlink_to(elsewhere)
    elif way == "loop":
        path.symlink_to(path.name)
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "folder":
        path.mkdir()
    elif way == "strange":
        path.write_bytes(chance.choice(STRANGE))


def files_of(directory: Path) -> list[str]:
    """Every file of a run but the lock, and one that it may have."""
    names = (path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    return sorted(name for name in names if name != "run.lock" and path_size(directory / name))


def path_size(path: Path) -> int:
    return path.stat().st_size


def tried(unfinished: Path, folder: Path, altgrad: Callable[..., Said], chance: random.Random, rounds: int, *, first: int = 0) -> int:  # fmt: skip
    """Damage a file, and run every command that reads it; how many commands were refused."""
    refused = 0
    names = files_of(unfinished)
    for number in range(rounds):
        run, elsewhere = folder / f"run{number}", folder / f"elsewhere{number}"
        shutil.copytree(unfinished, run)
        elsewhere.write_text("of somebody else")
        name, way = names[(first + number) % len(names)], chance.choice(WAYS)
        damaged(run / name, way, elsewhere, chance)
        commands = [("resume", run)] if number % 2 else [("diagnose", run), ("report", run), ("track", run, "--to", "tensorboard")]  # fmt: skip
        for command in commands:
            with ends_soon(f"{command[0]} with {name}: {way}"):
                said = altgrad(*command)
            case = f"{command[0]} with {name}: {way}: {said.err[-800:]}"
            assert said.code in (0, 1, 2, 4) and "Traceback" not in said.err + said.out, case
            assert said.code == 0 or str(run) in said.err or name in said.err, case
            assert elsewhere.read_text() == "of somebody else", case
            refused += said.code != 0
        shutil.rmtree(run)
    return refused


def test_every_file_of_a_run_may_be_damaged(
    unfinished: Path, tmp_path: Path, altgrad: Callable[..., Said], record_property: Callable[[str, int], None]
) -> None:
    assert tried(unfinished, tmp_path, altgrad, random.Random(1), 24) > 0
    record_property("tried", 24)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_file_of_a_run_may_be_damaged_often(
    part: int,
    unfinished: Path,
    tmp_path: Path,
    altgrad: Callable[..., Said],
    record_property: Callable[[str, int], None],
) -> None:
    assert tried(unfinished, tmp_path, altgrad, random.Random(part + 2), 50, first=50 * part) > 0
    record_property("tried", 50)
