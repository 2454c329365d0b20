"""A model of the library, as a module from tokens to logits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from altgrad_core import ManifestError

if TYPE_CHECKING:
    from altgrad_transformers import Transformers

LENGTHS = ("n_positions", "max_position_embeddings")
"""Where configurations say how long a sequence may be."""


class CausalLM(nn.Module):
    """Takes the logits out of whatever the model returns."""

    def __init__(self, lm: nn.Module) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, time, vocabulary), of tokens, int64 of shape (batch, time)."""
        output = self.lm(input_ids=tokens, use_cache=False)
        logits: Tensor = output.logits if hasattr(output, "logits") else output[0]
        return logits


def build(options: Transformers, vocabulary: int) -> CausalLM:
    """The model that the options name, in float32.

    Raises:
        ManifestError: the library is missing, does not know the type, or the model does not suit the data.
    """
    try:
        import transformers
    except ImportError:
        raise ManifestError("model transformers needs the package transformers: pip install transformers") from None
    if options.path is not None:
        if not (options.path / "config.json").is_file():
            raise ManifestError(
                f"{options.path}: holds no config.json; expected a directory that save_pretrained wrote"
            )
        with _no_progress(transformers.utils.logging):
            lm = transformers.AutoModelForCausalLM.from_pretrained(
                options.path, local_files_only=True, dtype=torch.float32
            )
    else:
        lm = transformers.AutoModelForCausalLM.from_config(
            _config(transformers, options, vocabulary), dtype=torch.float32
        )
    _check(lm.config, options, vocabulary)
    return CausalLM(lm)


@contextmanager
def _no_progress(logging: Any) -> Iterator[None]:
    """For the time being the library draws no progress bars."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def _config(transformers: Any, options: Transformers, vocabulary: int) -> Any:
    table = {**(options.config or {})}
    kind = table.pop("model_type")
    if kind not in transformers.CONFIG_MAPPING:
        raise ManifestError(f'transformers {transformers.__version__} has no model_type "{kind}"')
    defaults = transformers.CONFIG_MAPPING[kind]()
    known = set(vars(defaults)) | set(getattr(defaults, "attribute_map", {}))
    if unknown := sorted(set(table) - known):
        raise ManifestError(f'config: model_type "{kind}" has no "{unknown[0]}"')
    length = next((name for name in LENGTHS if name in known), None)
    lengths = {} if length is None or set(LENGTHS) & set(table) else {length: options.block_size}
    tokens = {name: None for name in ("bos_token_id", "eos_token_id", "pad_token_id") if name not in table}
    return transformers.AutoConfig.for_model(kind, **{"vocab_size": vocabulary, **lengths, **tokens, **table})


def _check(config: Any, options: Transformers, vocabulary: int) -> None:
    if config.vocab_size < vocabulary:
        raise ManifestError(f"the model has a vocabulary of {config.vocab_size}, and the data one of {vocabulary}")
    longest = next((n for name in LENGTHS if (n := getattr(config, name, None)) is not None), options.block_size)
    if options.block_size > longest:
        raise ManifestError(
            f"block_size is {options.block_size}, and the model takes at most {longest} tokens; set block_size to {longest} or less"
        )
