"""Tables of a manifest that trains in a second, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path

TINY_GPT = """
[model]
use = "nanogpt"
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
"""
TINY_TOKENS = """
[data]
use = "synthetic"
vocabulary = 16
tokens = 5000
batch_size = 2
"""
_TRANSFORMERS = """
[run]
name = "hf"
steps = 2
evaluate_every = 2
evaluate_batches = 1

[model]
use = "transformers"
block_size = 16
{model}

[data]
use = "synthetic"
vocabulary = 16
tokens = 2000
batch_size = 2

[optimizer]
use = "adamw"
lr = 0.001

[[recipe]]
layers = "*"
{recipe}
"""


def hugging_face_manifest(folder: Path, *, model: str, recipe: str) -> Path:
    """A manifest of a model of Hugging Face transformers: lines of its `[model]`, and of the one rule of its recipe."""
    path = folder / "hf.toml"
    path.write_text(_TRANSFORMERS.format(model=model, recipe=recipe))
    return path
