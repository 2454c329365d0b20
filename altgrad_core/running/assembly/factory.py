"""A model from any import path: `use = "package.module:factory"`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from altgrad_core.contracts.model import ModelSpec


class FactoryModel(ModelSpec):
    """A function that makes an `nn.Module` from tokens (batch, time) to logits (batch, time, vocabulary).

    Its options are the other keys of `[model]`. Parameters called `vocabulary` or `vocab_size`, and `block_size`, are
    filled in where the manifest does not give them.
    """

    name: ClassVar = "import path"
    FILLED_IN: ClassVar[tuple[str, ...]] = ("vocabulary", "vocab_size", "block_size")

    factory: Callable[..., Any]
    options: dict[str, Any]

    def written(self) -> dict[str, Any]:
        """The options of the factory, as the manifest has them."""
        return dict(self.options)

    def build(self, vocabulary: int) -> Any:
        """Call the factory."""
        known = {"vocabulary": vocabulary, "vocab_size": vocabulary, "block_size": self.block_size}
        parameters = inspect.signature(self.factory).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        options = {key: value for key, value in self.options.items() if takes_all or key in parameters}
        filled = {key: value for key, value in known.items() if key in parameters}
        return self.factory(**{**filled, **options})
