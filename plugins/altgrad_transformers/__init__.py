"""Causal language models of Hugging Face transformers, built from a configuration or read from a local directory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import model_validator

from altgrad_core import ManifestPath, ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn


class Transformers(ModelSpec):
    """A causal language model of Hugging Face transformers, by configuration or path.

    Its layers have the paths that they have in the library, after `lm.`: `lm.transformer.h.0.mlp.c_fc`. Nothing is
    downloaded.

    Attributes:
        config: a table with `model_type`, such as "gpt2", and what differs from the defaults of that type. The vocabulary
            is that of the data, the longest sequence `block_size`, unless the table says otherwise.
        path: a directory that `save_pretrained` wrote.
    """

    name: ClassVar = "transformers"
    config: dict[str, Any] | None = None
    path: ManifestPath | None = None

    @model_validator(mode="after")
    def _names_one_source(self) -> Transformers:
        if (self.config is None) == (self.path is None):
            raise ValueError('expected either config, such as { model_type = "gpt2", n_layer = 2 }, or path')
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError('config needs a model_type, such as "gpt2" or "llama"')
        return self

    @classmethod
    def pretrained(cls, path: Path) -> Mapping[str, Any] | None:
        """A directory that `save_pretrained` wrote, on sequences of 128 tokens of its own tokenizer if it has one."""
        if not (path / "config.json").is_file():
            return None
        has_tokenizer = (path / "tokenizer.json").is_file()
        return {
            "run": {"name": "evaluate", "steps": 1},
            "model": {"use": cls.name, "path": str(path.resolve())},
            "data": {"batch_size": 8, **({"tokenizer": f"huggingface:{path.resolve()}"} if has_tokenizer else {})},
            "optimizer": {"use": "adamw", "lr": 0.001},
        }

    def build(self, vocabulary: int) -> nn.Module:
        """A module from tokens, int64 of shape (batch, time), to logits, shape (batch, time, vocabulary)."""
        from altgrad_transformers.model import build

        return build(self, vocabulary)


@hookimpl
def altgrad_models() -> Iterator[type[ModelSpec]]:
    """The models of this package."""
    yield Transformers
