"""Directories of codes that Hugging Face transformers loads by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import altgrad_core as ag
from tests.tiny_tables import hugging_face_manifest

if TYPE_CHECKING:
    from tests.conftest import Said

transformers = pytest.importorskip("transformers")
pytest.importorskip("compressed_tensors")
pytest.importorskip("accelerate")

TOKENS = torch.arange(8)[None]
IDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def llama(width: int = 16, inner: int = 32, **options: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=16, hidden_size=width, intermediate_size=inner, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, **{**IDS, **options},
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


def planned(model: nn.Module, granularity: str = "tensor", layers: str = "*", format: str = "e4m3") -> ag.Plan:
    scaling = ag.Scaling(granularity=granularity, rounding="exact")
    return ag.quantize_model(model, [ag.Rule(layers, weight=ag.Quantizer(format, scaling=scaling))])


LAYOUTS = {
    "tensor": ("tensor", 16, "compressed-tensors", "weight_scale", (1,)),
    "row": ("row", 16, "compressed-tensors", "weight_scale", (32, 1)),
    "short tiles": ("tile:128x128", 16, "fp8", "weight_scale_inv", (1, 1)),
    "tiles": ("tile:128x128", 256, "fp8", "weight_scale_inv", (2, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layers", ["*", "*proj"])
def test_from_pretrained_gives_the_same_weights_and_logits(layout: str, layers: str, tmp_path: Path) -> None:
    granularity, width, method, scale, shape = LAYOUTS[layout]
    model = llama(width, max(32, width))
    plan = planned(model, granularity, layers)
    plan.export(tmp_path / "out", layout="huggingface")
    described = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert described["quant_method"] == method and not hasattr(model.config, "quantization_config")
    stored = stored_in(tmp_path / "out")
    assert stored["model.layers.0.mlp.up_proj.weight"].dtype == torch.float8_e4m3fn
    assert stored[f"model.layers.0.mlp.up_proj.{scale}"].shape == shape
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(TOKENS).logits, model(TOKENS).logits)
    original = model.model.layers[0].mlp.up_proj.weight.detach().clone()
    plan.remove(bake=True)
    theirs = dict(loaded.named_parameters())
    assert all(torch.equal(theirs[name], mine) for name, mine in model.named_parameters())
    assert not torch.equal(model.model.layers[0].mlp.up_proj.weight, original)


def stored_in(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.filterwarnings("ignore:You passed .quantization_config.")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_decompressed_while_they_are_read_are_the_same(dtype: torch.dtype, tmp_path: Path) -> None:
    model = llama().to(dtype)
    plan = planned(model, "row")
    plan.export(tmp_path / "out", layout="huggingface")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", quantization_config=transformers.CompressedTensorsConfig(dequantize=True)
    )
    plan.remove(bake=True)
    theirs = dict(loaded.named_parameters())
    assert all(torch.equal(theirs[name], mine) for name, mine in model.named_parameters())


@pytest.mark.parametrize("layout", ["row", "short tiles"])
def test_a_head_that_is_tied_to_an_embedding_is_written_for_itself(layout: str, tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=True)
    planned(model, LAYOUTS[layout][0]).export(tmp_path / "out", layout="huggingface")
    stored = stored_in(tmp_path / "out")
    assert torch.equal(stored["model.embed_tokens.weight"], model.model.embed_tokens.weight)
    assert stored["lm_head.weight"].dtype == torch.float8_e4m3fn and model.config.tie_word_embeddings
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    assert not loaded.config.tie_word_embeddings
    with torch.no_grad():
        torch.testing.assert_close(loaded(TOKENS).logits, model(TOKENS).logits)


def gpt2() -> Any:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=16, n_positions=8, n_embd=8, n_layer=1, n_head=2, **IDS)
    )


def parametrized(model: Any) -> Any:
    nn.utils.parametrizations.weight_norm(model.model.layers[0].mlp.up_proj)
    return model


BAKED = "plan.remove(bake=True), then save_pretrained, writes the rounded values in the type of the model"
MISFITS: dict[str, tuple[Callable[[], ag.Plan], str]] = {
    "model": (
        lambda: planned(nn.Sequential(nn.Linear(4, 4))),
        "this is a Sequential; expected a model of Hugging Face transformers, with config and save_pretrained; "
        "layout altgrad writes any model",
    ),
    "format": (
        lambda: planned(llama(), format="e5m2", layers="*up_proj"),
        'model.layers.0.mlp.up_proj: has weights in "e5m2"; expected "e4m3"',
    ),
    "granularity": (
        lambda: planned(llama(), "block:32", "*up_proj"),
        'model.layers.0.mlp.up_proj: has weights of granularity "block:32"; expected "tensor", "row" or "tile:128x128"',
    ),
    "tiles": (
        lambda: planned(llama(inner=192), "tile:128x128", "*up_proj"),
        "model.layers.0.mlp.up_proj: has a weight of shape (192, 16), which whole tiles of 128x128 do not fill; "
        'granularity "row" fits',
    ),
    "mixture": (
        lambda: ag.quantize_model(
            llama(),
            [
                ag.Rule("*up_proj", weight=ag.Quantizer("e4m3")),
                ag.Rule("*down_proj", weight=ag.Quantizer("e4m3", scaling=ag.Scaling(granularity="row"))),
            ],
        ),
        'model.layers.0.mlp.down_proj has granularity "row", and model.layers.0.mlp.up_proj "tensor"; expected one for all',
    ),
    "class": (
        lambda: planned(gpt2(), layers="*c_fc"),
        "transformer.h.0.mlp.c_fc: is of class Conv1D, and readers of this layout know only nn.Linear; leave it out, or bake: "
        f"{BAKED}",
    ),
    "computed": (
        lambda: planned(parametrized(llama()), layers="*up_proj"),
        "model.layers.0.mlp.up_proj: its weight is computed from other parameters; leave the layer out of the recipe, or bake: "
        f"{BAKED}",
    ),
    "outside": (
        lambda: planned(nn.ModuleDict({"own": nn.Linear(4, 4), "lm": llama()}), layers="own"),
        "own: is outside the model of Hugging Face transformers, lm",
    ),
    "nothing": (
        lambda: ag.quantize_model(llama(), [ag.Rule("*", activation=ag.Quantizer("e4m3"))]),
        "the recipe quantizes no weight; save_pretrained writes such a model",
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_named_and_nothing_is_written(misfit: str, tmp_path: Path) -> None:
    make, message = MISFITS[misfit]
    with pytest.raises(ag.RunError) as caught:
        make().export(tmp_path / "out", layout="huggingface")
    assert str(caught.value) == f"export, layout huggingface: {message}"
    assert not list(tmp_path.iterdir())


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ag.RunError) as caught:
        planned(llama()).export(tmp_path, layout="huggingface")
    assert str(caught.value).startswith(f"{tmp_path}: already exists; expected a new path, or an empty")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failure_leaves_neither_files_nor_an_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    monkeypatch.setattr(model, "save_pretrained", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(ag.RunError) as caught:
        planned(model).export(tmp_path / "out", layout="huggingface")
    told = f"{tmp_path / 'out'}: cannot be written: full; free some space, or choose another place"
    assert str(caught.value) == told
    assert not list(tmp_path.iterdir()) and not hasattr(model.config, "quantization_config")


MODEL = (
    'config = { model_type = "llama", hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, '
    "num_attention_heads = 2 }"
)


def test_a_trained_run_is_exported_for_hugging_face(altgrad: Callable[..., Said], tmp_path: Path) -> None:
    manifest = hugging_face_manifest(tmp_path, model=MODEL, recipe='weight = { format = "e4m3", granularity = "row" }')
    assert altgrad("run", manifest, "--out", tmp_path / "run").code == 0
    said = altgrad("export", tmp_path / "run", "--out", tmp_path / "out", "--layout", "huggingface")
    assert said.code == 0 and said.out.endswith("bytes, the model of hf at step 2\n"), said.err
    altgrad("export", tmp_path / "run", "--out", tmp_path / "model.safetensors")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    from altgrad_core.registry.registry import installed

    ours = installed().get("model", "transformers")(path=None, config=theirs_config(), block_size=16).build(16)
    ag.load_quantized(ours, tmp_path / "model.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(theirs(TOKENS).logits, ours.eval()(TOKENS))
    again = altgrad("export", tmp_path / "run", "--out", tmp_path / "out", "--layout", "huggingface")
    assert again.code == 1 and "already exists; expected a new path" in again.err


def theirs_config() -> dict[str, Any]:
    import tomllib

    config: dict[str, Any] = tomllib.loads(MODEL)["config"]
    return config
