"""Scales and codes as operations of torch: what `ops` gives, torch's own checks, and one tensor after another under vmap."""

from __future__ import annotations

import pytest
import torch

from altgrad_core.numerics import library_codes, ops
from altgrad_core.numerics.library import name_of
from altgrad_core.numerics.tiling import Tiling
from tests.numerics.test_library import HOWS, noise

assert library_codes
altgrad = torch.ops.altgrad
X = noise(3, 5, 64)


def calls(how):
    """Each operation with its inputs, and what `ops` gives for them."""
    name, granularity = name_of(how), how.scale_rule.granularity
    magnitudes = ops.amax(X, how.tiling)
    scale = ops.quantize(X, how, key=3).scale
    codes = ops.encode(X, how, scale=scale, key=3)
    yield altgrad.amax, (X, granularity), ops.amax(X, Tiling.of(granularity))
    yield altgrad.scale, (magnitudes, name), ops.scale_of(magnitudes, how)
    yield altgrad.encode, (X, name, scale, 3), codes
    yield altgrad.decode, (codes, name, scale), ops.decode(codes, how, scale=scale)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_torch_gives_what_the_operations_give_and_its_own_checks_pass(how):
    for operation, inputs, expected in calls(how):
        assert torch.equal(operation(*inputs), expected)
        torch.library.opcheck(operation.default, inputs, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_vmap_takes_one_tensor_after_another(how):
    name = name_of(how)
    scales = torch.stack([ops.quantize(x, how, key=3).scale for x in X])
    codes = torch.vmap(lambda x, scale: altgrad.encode(x, name, scale, 3))(X, scales)
    values = torch.vmap(lambda code, scale: altgrad.decode(code, name, scale))(codes, scales)
    for x, scale, code, value in zip(X, scales, codes, values, strict=True):
        assert torch.equal(code, ops.encode(x, how, scale=scale, key=3))
        assert torch.equal(value, ops.decode(code, how, scale=scale))
    magnitudes = torch.vmap(lambda x: altgrad.amax(x, how.scale_rule.granularity))(X)
    assert torch.equal(magnitudes, torch.stack([ops.amax(x, how.tiling) for x in X]))
    its = torch.vmap(lambda amax: altgrad.scale(amax, name))(magnitudes)
    assert torch.equal(its, torch.stack([ops.scale_of(amax, how) for amax in magnitudes]))
