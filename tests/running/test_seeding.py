"""What a step draws from torch's generator."""

from __future__ import annotations

import torch

from altgrad_core.numerics.random import derive_key
from altgrad_core.running.assembly.environment import seed_generator


def test_the_generator_gives_what_manual_seed_would_have_it_give():
    for key in (0, 1, 2**63 - 1, derive_key(3, "forward", 7, 0)):
        torch.manual_seed(key)
        expected = (torch.rand(5), torch.randn(40), torch.nn.functional.dropout(torch.ones(100)))
        seed_generator(torch.device("cpu"), key)
        got = (torch.rand(5), torch.randn(40), torch.nn.functional.dropout(torch.ones(100)))
        assert all(map(torch.equal, got, expected))
