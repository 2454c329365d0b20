"""What the checks of plugins say of one that breaks a law."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from pydantic import PositiveFloat

from altgrad_core import OptimizerSpec


def said(check: Any, plugin: type, **options: Any) -> str:
    """What a check says of a plugin that breaks a law."""
    with pytest.raises(AssertionError) as caught:
        check(plugin, **options)
    return str(caught.value)


class Sgd(OptimizerSpec):
    """Gradient descent."""

    name: ClassVar = "sgd"
    lr: PositiveFloat = 0.1

    def build(self, groups: Any, geometry: Any) -> Any:
        return torch.optim.SGD(groups, lr=self.lr)
