"""Out of a plan into codes, and back: the same outputs bit for bit."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

import altgrad_core as ag

if TYPE_CHECKING:
    from tests.conftest import Said


class Tied(nn.Module):
    """A head that shares its weight with a table, a convolution, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.conv, self.inner = nn.Embedding(8, 8), nn.Conv1d(8, 8, 3, padding=1), nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 8, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(self.table(tokens).transpose(1, 2))).transpose(1, 2)
        return self.head(self.inner(x).tanh())


TOKENS = torch.arange(16).view(2, 8) % 8
SCALINGS: dict[str, Any] = {
    "amax": "amax",
    "none": "none",
    "delayed": "delayed",
    "exact": ag.Scaling(rounding="exact"),
    "rows": ag.Scaling(granularity="row", rounding="exact"),
    "blocks": ag.Scaling(rounding="mx-floor", granularity="block:4", scale_format="e8m0"),
}


def trained(how: ag.Quantizer) -> ag.Plan:
    torch.manual_seed(0)
    model = Tied()
    rule = ag.Rule("*", weight=how, activation=ag.Quantizer("e5m2", scaling="delayed"))
    plan = ag.quantize_model(model, [rule], seed=3)
    plan.attach(optimizer := torch.optim.SGD(model.parameters(), lr=0.3))
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return plan


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("format", ["e4m3", "e5m2", "e3m4", "e0m7", "e7m0", "bf16"])
def test_a_loaded_model_gives_the_same_bits(format: str, scaling: str, tmp_path: Path) -> None:
    plan = trained(ag.Quantizer(format, scaling=SCALINGS[scaling]))
    plan.export(tmp_path / "model.safetensors")
    torch.manual_seed(1)
    other = Tied()
    ag.load_quantized(other, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(other.eval()(TOKENS), plan.model(TOKENS))
    assert other.head.weight is other.table.weight


@pytest.mark.parametrize("rounding", ["stochastic", "toward-zero"])
def test_other_roundings_are_exported_as_they_were_evaluated(rounding: Any, tmp_path: Path) -> None:
    plan = trained(ag.Quantizer("e4m3", rounding=rounding, scaling=SCALINGS["exact"]))
    plan.export(tmp_path / "model.safetensors")
    other = Tied()
    ag.load_quantized(other, tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(other.eval()(TOKENS), plan.model(TOKENS))


def test_codes_of_ocp_formats_are_types_of_torch_and_a_quarter_of_the_size(tmp_path: Path) -> None:
    plan = trained(ag.Quantizer("e4m3"))
    plan.export(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        codes, scale = file.get_tensor("inner.weight"), file.get_tensor("inner.weight_scale")
        told = json.loads(file.metadata()["altgrad"])
    assert codes.dtype == torch.float8_e4m3fn
    expected = plan.layers["inner"]["weight"].evaluated(plan.model.inner.weight).values
    assert torch.equal(codes.float() * scale, expected)
    assert told["weights"]["inner.weight"]["format"]["name"] == "e4m3"
    assert sorted(told["weights"]) == ["conv.weight", "inner.weight"]  # the table reads that of the head unrounded


def test_baked_weights_are_those_that_were_evaluated() -> None:
    plan = trained(ag.Quantizer("e4m3"))
    model, before = plan.model, copy.deepcopy(plan.model.inner.weight.detach())
    expected = plan.layers["inner"]["weight"].evaluated(before).values
    with pytest.warns(UserWarning, match="not baked, for others read or make these weights too: head"):
        plan.remove(bake=True)
    assert torch.equal(model.inner.weight, expected) and not torch.equal(before, expected)
    assert type(model.inner) is nn.Linear


def test_files_of_another_kind_or_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"no such file")
    with pytest.raises(ag.RunError, match="cannot be read"):
        ag.load_quantized(Tied(), path)
    trained(ag.Quantizer("e4m3")).export(path)
    model = Tied()
    model.norm = nn.BatchNorm1d(4)
    with pytest.raises(ag.RunError) as caught:
        ag.load_quantized(model, path)
    assert str(caught.value) == f"{path}: is of another model: norm.weight has shape (4,) here, and (8,) there"


def test_the_model_of_a_run_is_exported(altgrad: Callable[..., Said], tmp_path: Path) -> None:
    from tests.conftest import TINY

    (tmp_path / "tiny.toml").write_text(TINY)
    assert altgrad("run", tmp_path / "tiny.toml", "--out", tmp_path / "run").code == 0
    said = altgrad("export", tmp_path / "run", "--out", tmp_path / "model.safetensors")
    assert said.code == 0 and said.out.endswith("the model of tiny at step 6\n")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert file.get_tensor("blocks.0.mlp.fc.weight").dtype == torch.float8_e4m3fn
    missing = altgrad("export", tmp_path / "nowhere", "--out", tmp_path / "x")
    assert missing.code == 2 and "no run has been started here" in missing.err


@pytest.mark.parametrize(
    ("granularity", "layout"),
    [
        ("tensor", {"strategy": "tensor"}),
        ("row", {"strategy": "channel"}),
        ("tile:4x4", {"strategy": "block", "block_structure": [4, 4]}),
    ],
)
def test_compressed_tensors_reads_weights_of_e4m3(granularity: str, layout: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12))
    plan = ag.quantize_model(
        model, [ag.Rule("*", weight=ag.Quantizer("e4m3", scaling=ag.Scaling(granularity=granularity)))]
    )
    plan.export(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        stored = {name: file.get_tensor(f"0.{name}") for name in ("weight", "weight_scale")}
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=8, type="float", **layout))
    reader = BaseCompressor.get_value_from_registry("float-quantized")
    plan.remove(bake=True)
    assert torch.equal(reader.decompress(stored, scheme)["weight"].float(), model[0].weight)


def test_a_place_that_cannot_be_written_is_named_and_missing_directories_are_made(tmp_path: Path) -> None:
    plan = trained(ag.Quantizer("e4m3"))
    plan.export(tmp_path / "no" / "such" / "model.safetensors")
    place = tmp_path / "no" / "such" / "model.safetensors" / "a"
    with pytest.raises(ag.RunError) as caught:
        plan.export(place)
    assert str(caught.value).startswith(f"{place}: cannot be written: ") and ".tmp" not in str(caught.value)
