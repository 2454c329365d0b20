"""Files that are no files: nothing is waited for, and nothing is read without end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.files import open_regular, read_piped, read_whole
from tests.patience import ends_soon

if TYPE_CHECKING:
    from tests.conftest import Said


def put(path: Path, kind: str) -> str:
    """Something that is no manifest at `path`; what is said of reading it."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = socket.socket(socket.AF_UNIX)
        here.bind(str(path))
    elif kind == "sparse":
        with path.open("wb") as file:
            file.truncate(2 << 30)
        return "has 2,147,483,648 bytes, expected 1,048,576 at most"
    elif kind == "circle":
        path.symlink_to(path.name)
        return "too many levels of symbolic links"
    else:
        path.symlink_to(kind)
    return "not a regular file"


KINDS = ["pipe", "socket", "sparse", "circle", "/dev/zero", "/dev/urandom"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_manifest_extends_files_alone(
    tmp_path: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    said_of_it = put(Path("base.toml"), kind)
    manifest = Path("m.toml")
    manifest.write_text('extends = "base.toml"\n')
    with ends_soon():
        told = altgrad("check", manifest)
    asked = "" if kind == "circle" else f" (named by `extends` in {tmp_path}/m.toml)"
    expected = f"altgrad: base.toml: cannot be read: {said_of_it}{asked}\n"
    assert (told.code, told.err) == (2, expected)


def test_ranks_are_read_from_a_file_alone(tiny: Path, altgrad: Callable[..., Said]) -> None:
    (tiny.parent / "text.txt").write_text("some text " * 400)
    told = altgrad("check", tiny, "--set", "data={use='text-files', paths=['text.txt'], tokenizer='ranks:/dev/zero'}")
    assert told.code == 2
    assert told.err == f"altgrad: {tiny}: data.tokenizer: cannot read /dev/zero: not a regular file\n"


@pytest.mark.parametrize("name", ["resolved.toml", "env.json", "records.jsonl", "checkpoints/step-2/checkpoint.json", "checkpoints/step-2/plan.json"])  # fmt: skip
def test_a_pipe_in_a_run_directory_holds_nobody_up(tiny: Path, altgrad: Callable[..., Said], name: str) -> None:
    run = tiny.parent / "run"
    assert altgrad("run", tiny, "--out", run, "--set", "run.steps=2", "--set", "run.evaluate_every=2").code == 0
    for gone in ("summary.json", name):
        (run / gone).unlink()
    os.mkfifo(run / name)
    with ends_soon():
        told = altgrad("resume", run)
    if name.startswith("checkpoints"):
        assert f"{Path(name).name} " in told.err and "step-0 instead" in told.err
    else:
        said = "is not a regular file, and a run needs one there; remove it"
        assert (told.code, told.err) == (1, f"altgrad: {run / name}: {said}\n")


def test_a_manifest_can_come_through_a_pipe(tiny: Path, altgrad: Callable[..., Said]) -> None:
    pipe = tiny.parent / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(tiny.read_bytes()))
    writer.start()
    told = altgrad("check", pipe)
    writer.join()
    assert (told.code, told.err) == (0, "")


def test_a_pipe_is_read_for_so_long_and_so_far(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match=r"the pipe did not end within 0.1 s"):
        read_piped(pipe, most=10, seconds=0.1)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"x" * 100))
    writer.start()
    with pytest.raises(OSError, match=r"the pipe holds more than 10 bytes"):
        read_piped(pipe, most=10, seconds=5)
    writer.join()


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    assert read_whole(path, most=10) == b"0123456789"
    with pytest.raises(OSError, match="has 10 bytes, expected 9 at most"):
        read_whole(path, most=9)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "a\0b")
