"""A run in a place that cannot be written to, or without room: each command says what the user can do with it."""

from __future__ import annotations

import errno
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.records.lock import Lock

if TYPE_CHECKING:
    from tests.conftest import Said


@pytest.mark.parametrize("command", ["resume", "run"])
def test_a_run_in_a_read_only_place_can_be_copied(
    command: str, unfinished: Path, tiny: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(lock: Lock) -> bool:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Lock, "acquire", refuse)
    said = altgrad("resume", unfinished) if command == "resume" else altgrad("run", tiny, "--out", unfinished)
    told = "Read-only file system; make it writable, or copy it to another place and name the copy"
    assert (said.code, said.out, said.err) == (1, "", f"altgrad: {unfinished}: cannot be written to: {told}\n")
    said = altgrad("run", tiny, "--out", tiny.parent / "new")
    told = "Read-only file system; choose another place with --out"
    assert (said.code, said.err) == (1, f"altgrad: {tiny.parent / 'new'}: cannot be written to: {told}\n")


def test_a_run_without_room_for_its_next_checkpoint_can_be_moved(
    unfinished: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 2_000, 2_000))
    said = altgrad("resume", unfinished)
    assert said.code == 1 and said.err.endswith("; free some space, or move the run to another disk\n"), said.err
