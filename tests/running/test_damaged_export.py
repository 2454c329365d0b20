"""Files of exported models that are damaged or something else: one error with their name, and the model is left as it was."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import altgrad_core as ag

RULES = [ag.Rule("*", weight="e4m3", activation="e4m3")]
STRANGE: tuple[Any, ...] = (None, 7, -1, [], {}, "x", "\x1b]0;x\x07", [{}], {"x": 7}, 10**30)


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    ag.quantize_model(one := model(), RULES).export(tmp_path / "model.safetensors")
    assert ag.load_quantized(model(), tmp_path / "model.safetensors").layers and one
    return tmp_path / "model.safetensors"


def told_in(raw: bytes) -> tuple[dict[str, Any], int]:
    """The facts in the header, and where the tensors begin."""
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), end


def forged(raw: bytes, facts: str) -> bytes:
    """The file with other facts of AltGrad."""
    header, end = told_in(raw)
    text = json.dumps({**header, "__metadata__": {"altgrad": facts}}).encode()
    return len(text).to_bytes(8, "little") + text + raw[end:]


def damages(raw: bytes) -> Iterator[bytes]:
    """Every fact gone or replaced by something strange, nonsense for all of them, and a file cut or with bits turned."""
    facts: dict[str, Any] = json.loads(told_in(raw)[0]["__metadata__"]["altgrad"])
    changed = [{k: v for k, v in facts.items() if k != key} for key in facts]
    changed += [{**facts, key: value} for key in facts for value in STRANGE]
    name, weight = next(iter(facts["weights"].items()))
    changed += [
        {**facts, "weights": {**facts["weights"], name: {**weight, key: value}}} for key in weight for value in STRANGE
    ]
    yield from (forged(raw, json.dumps(one)) for one in changed)
    yield from (forged(raw, text) for text in ("", "{", "null", "[]", "7", "[" * 100_000))
    yield from (raw[:length] for length in (0, 7, 100, len(raw) - 1))
    yield (2**62).to_bytes(8, "little") + raw[8:]
    chance = random.Random(1)
    for _ in range(100):
        turned = bytearray(raw)
        turned[chance.randrange(told_in(raw)[1])] ^= 1 << chance.randrange(8)
        yield bytes(turned)


def test_a_damaged_file_is_one_error_with_its_name(exported: Path) -> None:
    refused = 0
    for damaged in damages(exported.read_bytes()):
        exported.write_bytes(damaged)
        fresh = model()
        try:
            ag.load_quantized(fresh, exported)
        except ag.AltgradError as error:
            assert str(error).startswith(f"{exported}: ")
            assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in fresh.modules())
            assert all(type(layer).__module__.startswith("torch.") for layer in fresh.modules())
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "loop", "/dev/zero", "empty", "pickle"])
@pytest.mark.parametrize("load", ["load_quantized", "load_program"])
def test_what_is_no_export_is_refused_at_once(what: str, load: str, tmp_path: Path) -> None:
    path = Path(what) if what.startswith("/") else tmp_path / "model"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to("model")
    elif what in ("empty", "pickle"):
        path.write_bytes(b"" if what == "empty" else b"cos\nmkdir\n(Vexecuted\ntR.")
    with pytest.raises(ag.RunError) as caught:
        ag.load_quantized(model(), path) if load == "load_quantized" else ag.load_program(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert not Path("executed").exists()
