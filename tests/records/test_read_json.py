"""Reading the JSON files of runs and studies: an object, or a clear error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from altgrad_core.errors import RunError
from altgrad_core.records.files import MOST_JSON_BYTES, read_json, write_json


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_json(path, {"status": "finished", "step": 3, "reason": None})
    assert read_json(path) == {"status": "finished", "step": 3, "reason": None}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"[[1, 2]]", b'"text"', b"3", b"null", b"\xff\xfe", b"[" * 200_000, b'{"a": 1} {}']
)
def test_what_is_no_object_is_refused_with_the_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "env.json"
    path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        read_json(path)
    assert str(caught.value) == (
        f"{path}: is damaged: expected a JSON object; put the file back, or remove it to continue without it"
    )


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    with path.open("wb") as file:
        file.truncate(MOST_JSON_BYTES + 1)  # sparse: it takes no room on the disk
    with pytest.raises(OSError, match="has 268,435,457 bytes, expected 268,435,456 at most"):
        read_json(path)


def test_a_named_pipe_does_not_make_it_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "failure.json")
    with pytest.raises(OSError, match="not a regular file"):
        read_json(tmp_path / "failure.json")


def test_a_missing_file_is_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "summary.json")
