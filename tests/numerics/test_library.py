"""The operations as torch has them: one opaque operation to torch.compile, with a shape, a gradient and a vmap rule."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from altgrad_minifloat import altgrad_formats
from torch._dynamo.utils import counters
from torch._subclasses.fake_tensor import FakeTensorMode

from altgrad_core.numerics import ops
from altgrad_core.numerics.library import fake_quantize, name_of, quantize
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.numerics.scaling import Scaling

FORMATS = {format.name: format for format in altgrad_formats()}
HOWS = [
    Quantizer(FORMATS["e4m3"]),
    Quantizer(FORMATS["e5m2"], "stochastic", straight_through="clipped"),
    Quantizer(FORMATS["e2m1"], scaling=Scaling("amax", "mx-floor", granularity="block:32", scale_format="e8m0")),
    Quantizer(
        FORMATS["e4m3"], "to-odd", Scaling("amax", "mx-floor", granularity="tile:2x3"), straight_through="clipped"
    ),
]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_torch_gives_what_the_operation_gives(how):
    x = noise(5, 70)
    got, expected = quantize(x, how, key=3), ops.quantize(x, how, key=3)
    assert torch.equal(got.values, expected.values) and torch.equal(got.scale, expected.scale)
    assert [float(count) for count in got.tally] == [float(count) for count in expected.tally]
    again = quantize(x, how, scale=got.scale, key=3)
    assert torch.equal(again.values, got.values) and torch.equal(again.scale, got.scale)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_the_gradient_is_that_of_the_operation(how):
    x, y = (noise(5, 70).requires_grad_() for _ in range(2))
    weights = noise(5, 70)
    (fake_quantize(x, how, key=3) * weights).sum().backward()
    (ops.fake_quantize(y, how, key=3) * weights).sum().backward()
    assert torch.equal(x.grad, y.grad)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_torchs_own_checks_pass(how):
    x = noise(5, 70)
    tests = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    torch.library.opcheck(torch.ops.altgrad.quantize.default, (x, name_of(how), None, 3), test_utils=tests)
    torch.library.opcheck(
        torch.ops.altgrad.fake_quantize.default, (x.requires_grad_(), name_of(how), None, 3), test_utils=tests
    )


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_a_fake_tensor_has_the_shapes_and_types(how):
    x = noise(5, 70)
    expected = ops.quantize(x, how, key=3)
    with FakeTensorMode() as mode:
        got = quantize(mode.from_tensor(x), how, key=3)
    for mine, its in zip(got[:2], expected[:2], strict=True):
        assert (mine.shape, mine.dtype) == (its.shape, its.dtype)


FIRST_WITHOUT_NUMBERS = """
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
import altgrad_core as ag

e4m3, powers = ag.load_format("e4m3"), ag.load_format("e8m0")
how, grid = ag.Quantizer(e4m3), ag.Geometry.of(e4m3)
model = nn.Sequential(nn.Linear(8, 8))
ag.quantize_model(model, [ag.Rule("*", weight=how, activation=how, gradient=how)])
with FakeTensorMode(allow_non_fake_inputs=True):
    x = torch.ones(8)
    assert ag.quantize(x, how).values.shape == model(x).shape == (8,)
    model(x).sum().backward()
    for call in (lambda: grid.rung(x), lambda: grid.position(x), lambda: grid.movement(x, x, x), lambda: ag.encode(x, e4m3)):
        try:
            call()
        except ag.FormatError as error:
            assert "has no numbers, as within FakeTensorMode" in str(error)
        else:
            raise AssertionError
    ag.Geometry.of(powers).rung(x)  # by tensor operations, with a table
    ag.quantize(x, ag.Quantizer(e4m3, rounding="nearest-odd"))
model.zero_grad()
model(torch.ones(8)).sum().backward()
assert ag.quantize(torch.tensor([17.1]), how).values.tolist() == [18.0] and grid.rung(torch.ones(1)).tolist() == [56]
assert ag.Geometry.of(powers).rung(torch.ones(1)).tolist() == [127]
assert ag.quantize(torch.ones(1), ag.Quantizer(e4m3, rounding="nearest-odd")).values.tolist() == [1]
"""


def test_what_is_used_first_on_tensors_without_numbers_computes_afterwards():
    """Kernels are given addresses, and a tensor without numbers has none; nor may one be kept from then on."""
    done = subprocess.run([sys.executable, "-c", FIRST_WITHOUT_NUMBERS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_vmap_quantizes_each_tensor_at_its_own_scales(how):
    xs = noise(3, 4, 64) * torch.tensor([1.0, 10.0, 1e-3]).view(3, 1, 1)
    got = torch.vmap(lambda x: fake_quantize(x, how, key=3))(xs)
    assert torch.equal(got, torch.stack([ops.fake_quantize(x, how, key=3) for x in xs]))
    both = torch.vmap(lambda x: quantize(x, how, key=3)[:2], in_dims=1)(xs)
    assert torch.equal(both[0], torch.stack([ops.quantize(x, how, key=3).values for x in xs.unbind(1)]))


def test_torch_compile_sees_one_operation_and_breaks_no_graph():
    how = HOWS[0]

    def loss(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (ops.fake_quantize(x, how) @ ops.fake_quantize(w, FORMATS["e5m2"], scaling="amax")).square().sum()

    (x, w), (x2, w2) = ((noise(8, 16).requires_grad_(), noise(16, 4).requires_grad_()) for _ in range(2))
    counters.clear()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    compiled(x, w).backward()
    loss(x2, w2).backward()
    assert not counters["graph_break"]
    assert torch.equal(x.grad, x2.grad) and torch.equal(w.grad, w2.grad)
    assert torch.equal(compiled(x, w), loss(x, w))


def test_a_key_that_changes_with_every_step_compiles_once_more_at_most():
    how, x = HOWS[1], noise(8, 16)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(lambda x, key: ops.fake_quantize(x, how, key=key), backend=backend, fullgraph=True)
    for key in (3, 2**62 + 5, 2**40, 17):
        assert torch.equal(compiled(x, key), ops.fake_quantize(x, how, key=key))
    assert len(graphs) <= 2
