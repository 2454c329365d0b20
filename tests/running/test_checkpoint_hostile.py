"""Files of a checkpoint that were made to harm are refused, and nothing of them is executed."""

from __future__ import annotations

import json
import os
import pickle
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from altgrad_core.errors import RunError
from altgrad_core.running.state import checkpoint as subject
from altgrad_core.running.state.checkpoint import (
    read_checkpoint,
    write_checkpoint,
)
from altgrad_core.running.state.serialize import tensors_from
from tests.patience import ends_soon

if TYPE_CHECKING:
    from tests.running.conftest import Runs


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "observers.safetensors", "plan.json"])
@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_that_poses_as_a_file_of_a_checkpoint_is_refused_and_not_executed(
    name: str, kind: str, runs: Runs
) -> None:
    runs.begin(at=2)
    executed, root = runs.folder / "executed", runs.folder / "run" / "checkpoints"
    if kind == "pickle":
        payload = pickle.dumps(Payload(executed))
    else:
        torch.save(Payload(executed), runs.folder / "payload")
        payload = (runs.folder / "payload").read_bytes()
    write_checkpoint(root, 2, {**read_checkpoint(root / "step-2"), name: payload})
    with pytest.raises(
        RunError, match=r"step-2: (\w+\.safetensors cannot be read|the checkpoint does not fit this run)"
    ):
        runs.resume()
    assert not executed.exists()


@pytest.mark.parametrize("length", [2**63, 2**63 - 1, 2**40, 2**32, 99_000_000, 9])
def test_a_safetensors_header_longer_than_its_file_is_refused_at_once(length: int) -> None:
    with ends_soon(), pytest.raises(RunError, match=r"^model\.safetensors cannot be read: "):
        tensors_from(struct.pack("<Q", length) + b"{}", "model")


def test_a_safetensors_tensor_beyond_its_file_is_refused_at_once() -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    with ends_soon(), pytest.raises(RunError, match=r"^model\.safetensors cannot be read: "):
        tensors_from(struct.pack("<Q", len(header)) + header + b"0000", "model")


@pytest.mark.parametrize(
    "files",
    [
        {"../../secret.json": {"bytes": 6, "sha256": "0"}},
        {"/etc/passwd": {"bytes": 6, "sha256": "0"}},
        {"..": {"bytes": 6, "sha256": "0"}},
        {"plan.json\n": {"bytes": 6, "sha256": "0"}},
        {"plan.json": 6},
        {"plan.json": {"bytes": 6}},
        {"plan.json": None},
        ["plan.json"],
        "plan.json",
        None,
        7,
    ],
)
def test_a_seal_that_vouches_for_itself_but_names_no_proper_files_is_damaged(files: object, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_bytes(b"secret")
    path = tmp_path / "checkpoints" / "step-1"
    path.mkdir(parents=True)
    (path / "checkpoint.json").write_bytes(subject._seal(files))  # type: ignore[arg-type]
    with pytest.raises(RunError) as caught:
        read_checkpoint(path)
    assert str(caught.value) == f"{path}: checkpoint.json is damaged"


def test_a_seal_nested_too_deeply_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.json").write_bytes(b"[" * 500_000)
    with pytest.raises(RunError) as caught:
        read_checkpoint(tmp_path)
    assert str(caught.value) == f"{tmp_path}: checkpoint.json is damaged"
