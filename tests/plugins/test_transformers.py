"""Models of Hugging Face transformers in runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.tiny_tables import hugging_face_manifest

if TYPE_CHECKING:
    from tests.conftest import Said

transformers = pytest.importorskip("transformers")

RECIPE = """
weight = { format = "e4m3" }
activation = { format = "e4m3" }
gradient = { format = "e5m2" }
"""
GPT2 = 'config = { model_type = "gpt2", n_embd = 16, n_layer = 2, n_head = 2 }'
LLAMA = (
    'config = { model_type = "llama", hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, '
    "num_attention_heads = 2, num_key_value_heads = 1 }"
)


def written(folder: Path, model: str) -> Path:
    return hugging_face_manifest(folder, model=model, recipe=RECIPE)


@pytest.mark.parametrize("model", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_model_from_a_configuration_is_trained_and_told_of(
    model: str, altgrad: Callable[..., Said], tmp_path: Path
) -> None:
    said = altgrad("check", written(tmp_path, model))
    assert said.code == 0 and "lm.lm_head" in said.out and "quantized: " in said.out
    assert "of multiply-adds" in said.out
    assert altgrad("run", written(tmp_path, model), "--out", tmp_path / "run").code == 0


def test_a_model_from_a_directory_begins_with_its_weights(tmp_path: Path) -> None:
    from altgrad_core.registry.registry import installed

    config = transformers.GPT2Config(vocab_size=16, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    torch.manual_seed(0)
    saved = transformers.GPT2LMHeadModel(config).eval()
    saved.save_pretrained(tmp_path / "gpt2")
    model = installed().get("model", "transformers")(path=tmp_path / "gpt2", block_size=16).build(16).eval()
    tokens = torch.arange(8)[None]
    assert torch.equal(model(tokens), saved(tokens).logits)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("", 'expected either config, such as { model_type = "gpt2", n_layer = 2 }, or path'),
        ("config = { n_layer = 2 }", 'config needs a model_type, such as "gpt2" or "llama"'),
        ('config = { model_type = "gpt9" }', f'transformers {transformers.__version__} has no model_type "gpt9"'),
        ('config = { model_type = "gpt2", n_layers = 2 }', 'config: model_type "gpt2" has no "n_layers"'),
        ('config = { model_type = "gpt2", vocab_size = 3 }', "the model has a vocabulary of 3, and the data one of 16"),
        ('config = { model_type = "gpt2", n_positions = 4 }', "block_size is 16, and the model takes at most 4 tokens; set block_size to 4 or less"),
        ('path = "nowhere"', "nowhere: holds no config.json; expected a directory that save_pretrained wrote"),
    ],
)  # fmt: skip
def test_what_no_model_can_be_made_of_is_refused(
    model: str, message: str, altgrad: Callable[..., Said], tmp_path: Path
) -> None:
    said = altgrad("check", written(tmp_path, model))
    assert (said.code, message in said.err) == (2, True), said.err
