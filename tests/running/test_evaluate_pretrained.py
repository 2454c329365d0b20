"""`altgrad evaluate` and `advise` of a directory that `save_pretrained` wrote, with the tokenizer that lies in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from tests.conftest import Said

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

TEXT = "the quick brown fox jumps over the lazy dog, and the dog does not mind. " * 60
RECIPE = '[[recipe]]\nlayers = "*"\nweight = "e4m3"\nactivation = "e4m3"\n'


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with more logits than its tokenizer has tokens, a text and a recipe."""
    folder = tmp_path_factory.mktemp("pretrained")
    engine = tokenizers.Tokenizer(tokenizers.models.BPE())
    engine.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    engine.train_from_iterator(
        [TEXT], tokenizers.trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, show_progress=False)
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=engine).save_pretrained(folder / "model")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlamaConfig(vocab_size=288, num_key_value_heads=1, **sizes)
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "model")
    (folder / "text.txt").write_text(TEXT)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def settings(folder: Path) -> tuple[str, ...]:
    given = ("data.use=text-files", f'data.paths=["{folder / "text.txt"}"]', "model.block_size=16", "data.batch_size=2")
    return tuple(part for setting in given for part in ("--set", setting))


def test_its_loss_is_that_of_the_library_on_the_tokens_of_the_library(
    written: Path, altgrad: Callable[..., Said]
) -> None:
    own = ("--recipe", written / "recipe.toml", "--batches", 1000, "--json")
    told = altgrad("evaluate", written / "model", *settings(written), *own)
    assert told.code == 0, told.err
    plain, rounded = json.loads(told.out)["recipes"]
    ids = transformers.AutoTokenizer.from_pretrained(written / "model")(TEXT, return_tensors="pt").input_ids[0]
    held_out = ids[len(ids) - round(0.1 * len(ids)) :]
    blocks = (len(held_out) - 1) // 16
    x, y = held_out[: 16 * blocks].view(blocks, 16), held_out[1 : 16 * blocks + 1].view(blocks, 16)
    model = transformers.AutoModelForCausalLM.from_pretrained(written / "model", dtype=torch.float32)
    with torch.no_grad():
        logits = model(x).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())
    assert plain["loss"] == pytest.approx(float(expected), rel=1e-6)
    assert rounded["bits"] == 8 and rounded["loss"] != plain["loss"]


def test_a_recipe_is_advised_for_it(written: Path, altgrad: Callable[..., Said], tmp_path: Path) -> None:
    short = ("--batches", 1, "--calibrate", 1, "--granularity", "tensor", "--format", "e4m3", "--format", "e2m1")
    out = tmp_path / "advised.toml"
    told = altgrad(
        "advise", written / "model", *settings(written), "--bits", 6, *short, "--role", "query", "--out", out
    )
    assert told.code == 0, told.err
    assert 'layers = "lm.model.layers.0.self_attn"' in out.read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "holds a model, but no data to measure its loss on; say which, such as --set data.use=python-docs"),
        (
            ("data.use=python-docs", "data.tokenizer=huggingface:nowhere"),
            "no file .*nowhere; expected a tokenizer.json",
        ),
        (("data.use=python-docz",), 'no data set "python-docz"|did you mean "python-docs"'),
    ],
)
def test_mistakes_are_explained(
    written: Path, altgrad: Callable[..., Said], given: tuple[str, ...], message: str
) -> None:
    told = altgrad("evaluate", written / "model", *(part for setting in given for part in ("--set", setting)))
    assert told.code == 2
    assert re.search(message, told.err.replace("\n", " ")), told.err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"{}"])
def test_a_damaged_tokenizer_is_named(
    written: Path, altgrad: Callable[..., Any], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    own = ("--set", f"data.tokenizer=huggingface:{tmp_path}")
    told = altgrad("evaluate", written / "model", *settings(written), *own)
    assert told.code == 2 and "tokenizer.json is not a tokenizer" in told.err, told.err
