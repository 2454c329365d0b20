"""Quantized models under torch.compile: one graph, and the same bits as without it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.fx.experimental.proxy_tensor import make_fx

import altgrad_core as ag
from altgrad_core.registry.registry import installed
from altgrad_core.running.model.operand import Operand
from altgrad_core.running.model.plan import Plan

STEPS = 50
OF_TORCH = ("adamw", "sgd")


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


class Small(nn.Module):
    """Two layers, the first of which is called three times, twice with the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second((self.first(x) + self.first(x)).relu() + self.first(x.relu()))


def quantized(model: nn.Module, rounding: str = "nearest-even", straight_through: str = "identity") -> Plan:
    def how(format: str) -> ag.Quantizer:
        return ag.Quantizer(format, rounding, "delayed", straight_through=straight_through)

    return ag.quantize_model(model, [ag.Rule("*", weight=how("e4m3"), activation=how("e4m3"), gradient=how("e5m2"))])


def trained(plan: Plan, call: Callable[[Tensor], Tensor], *, steps: int) -> list[Tensor]:
    """All weights after every step."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(plan.model.parameters(), lr=0.01)
    weights = []
    for _ in range(steps):
        for _ in range(2):  # micro-batches
            call(torch.randn(4, 6, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        plan.step()
        weights += [parameter.detach().clone() for parameter in plan.model.parameters()]
    return weights


def check_same(monkeypatch, backend: str, rounding: str, straight_through: str, *, steps: int = STEPS) -> None:
    """Every rounded operand, weight and state of these steps in one graph equals that of eager steps."""
    seen: dict[Operand, list[Tensor]] = {}
    quantize = Operand._quantize

    def watched(self, x, training):
        done = quantize(self, x, training)
        if training:
            seen.setdefault(self, []).append(done.values.clone())
        return done

    monkeypatch.setattr(Operand, "_quantize", watched)
    torch.manual_seed(0)
    model = Small()
    plans = [quantized(m, rounding, straight_through) for m in (model, copy.deepcopy(model))]
    compiled = torch.compile(plans[0].model, backend=backend, fullgraph=True)
    weights = [trained(plans[0], compiled, steps=steps), trained(plans[1], plans[1].model, steps=steps)]
    assert all(map(torch.equal, *weights)) and all(w.isfinite().all() for w in weights[0])
    assert plans[0].state_dict() == plans[1].state_dict()
    for one, two in zip(*(plan.operands() for plan in plans), strict=True):
        assert len(seen[one]) == len(seen[two]) > steps or one.role == "weight"
        assert all(map(torch.equal, seen[one], seen[two]))
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]


@pytest.mark.parametrize(
    ("rounding", "straight_through", "steps"), [("nearest-even", "identity", 5), ("stochastic", "clipped", STEPS)]
)
def test_a_compiled_model_is_one_graph_with_the_bits_of_eager_steps(monkeypatch, rounding, straight_through, steps):
    check_same(monkeypatch, "aot_eager", rounding, straight_through, steps=steps)


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["nearest-even", "stochastic"])
def test_inductor_gives_the_bits_of_eager_steps(monkeypatch, rounding):
    check_same(monkeypatch, "inductor", rounding, "clipped")


LAYERS = {
    "conv": (lambda: nn.Conv1d(3, 4, 2), (2, 3, 5)),
    "transposed": (lambda: nn.ConvTranspose1d(3, 4, 2), (2, 3, 5)),
    "bilinear": (lambda: Twice(nn.Bilinear(4, 4, 3)), (2, 4)),
    "attention": (lambda: Attends(), (2, 5, 8)),
}


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x.relu())


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("kind", LAYERS)
def test_every_kind_of_layer_is_one_graph(kind):
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    models = [nn.Sequential(make())]
    models.append(copy.deepcopy(models[0]))
    plans = [quantized(model) for model in models]
    compiled = torch.compile(models[0], backend="aot_eager", fullgraph=True)
    x = torch.randn(shape)
    for call in (compiled, models[1]):
        call(x).square().sum().backward()
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)
    assert [o.tally.elements for o in plans[0].operands()] == [o.tally.elements for o in plans[1].operands()]


def test_layers_compiled_one_by_one_share_their_graphs():
    model = nn.Sequential(*(nn.Linear(6, 6) for _ in range(12)))
    plan = quantized(model)
    for layer in model:
        layer.compile(backend="aot_eager", fullgraph=True)
    model(torch.randn(4, 6)).sum().backward()
    assert all(operand.is_used for operand in plan.operands())
    assert counters["stats"]["unique_graphs"] <= 3


def test_a_copy_of_a_compiled_model_counts_by_itself():
    model = Small()
    plan = quantized(model)
    other = copy.deepcopy(plan)
    torch.compile(other.model, backend="aot_eager", fullgraph=True)(torch.ones(4, 6)).sum().backward()
    assert all(operand.is_used for operand in other.operands())
    assert not any(operand.is_used for operand in plan.operands())


def test_backward_passes_may_come_in_any_order():
    model = Small()
    quantized(model)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = torch.randn(4, 6)
    gradients = []
    for order in (1, -1):
        model.zero_grad()
        for y in [compiled(x), compiled(x)][::order]:
            y.sum().backward()
        gradients.append(model.first.weight.grad.clone())
    assert torch.equal(*gradients)


def test_a_graph_of_a_step_has_every_rounding() -> None:
    """`make_fx` writes operations down as torch does them; kernels that it does not see would be missing from the graph."""
    torch.manual_seed(0)
    plain = Small()
    x = torch.randn(4, 6)

    def build() -> tuple[nn.Module, Callable[..., tuple[Tensor, ...]]]:
        model = copy.deepcopy(plain)
        ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e4m3", scaling="delayed"),
                                          gradient=ag.Quantizer("e5m2", "stochastic"))])  # fmt: skip

        def step(parameters: dict[str, Tensor], x: Tensor) -> tuple[Tensor, ...]:
            loss = torch.func.functional_call(model, parameters, (x,)).square().mean()
            return loss, *torch.autograd.grad(loss, list(parameters.values()))

        return model, step

    model, step = build()
    graph = make_fx(step)(dict(model.named_parameters()), x)
    model, step = build()
    again = make_fx(step)(
        dict(model.named_parameters()), 2 * x
    )  # of other numbers, so that none is a constant of the graph
    assert str(graph.graph) == str(again.graph)
    assert sum("altgrad" in str(node.target) for node in graph.graph.nodes) == 12, "4 calls with 3 operands each"


def test_a_graph_of_roundings_gives_the_bits_of_eager_ones() -> None:
    model = Small()
    ag.quantize_model(model, [ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e3m4"))])
    x = torch.randn(4, 6)
    graph = make_fx(model)(torch.randn(4, 6))
    assert torch.equal(graph(x), model(x))
    rounded = make_fx(lambda x: ag.fake_quantize(x, ag.load_format("e4m3"), scaling="amax"))(torch.randn(4, 6))
    assert torch.equal(rounded(x), ag.fake_quantize(x, ag.load_format("e4m3"), scaling="amax"))


@pytest.mark.parametrize("name", installed().names("optimizer"))
def test_a_step_under_torch_compile_is_the_eager_one(name: str) -> None:
    torch.manual_seed(0)
    model = Small()
    plans = [quantized(m) for m in (model, copy.deepcopy(model))]
    for plan in plans:
        optimizer = ag.build_optimizer(name, plan.params())
        plan.attach(optimizer)
        step = torch.compile(optimizer.step, backend="eager") if plan is plans[0] else optimizer.step
        for _ in range(3):
            optimizer.zero_grad()
            plan.model(torch.ones(4, 6)).square().mean().backward()
            step()
    exact = {} if name in OF_TORCH else {"rtol": 0.0, "atol": 0.0}  # torch compiles its own steps, in another order
    for one, other in zip(*(plan.model.parameters() for plan in plans), strict=True):
        torch.testing.assert_close(one, other, **exact)


def test_a_compiled_training_step_is_the_eager_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Small()
    losses: list[list[float]] = []
    for plan in [quantized(m) for m in (model, copy.deepcopy(model))]:
        optimizer = ag.build_optimizer("manifold-adamw", plan.params())
        plan.attach(optimizer)
        watch = ag.watch(plan.model, optimizer, out=tmp_path / str(len(losses)), monitors=["updates"], every=1)

        def step(x: Tensor, plan: Plan = plan, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            loss = plan.model(x).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        call = step if losses else torch.compile(step, backend="aot_eager")
        losses.append([])
        for turn in range(4):
            losses[-1].append(float(call(torch.full((4, 6), float(turn)))))
            watch.step(losses[-1][-1])
        watch.close()
    assert losses[0] == losses[1]
    one, other = ((tmp_path / name / "records.jsonl").read_text().splitlines()[1:] for name in ("0", "1"))
    assert one == other and sum("update" in line for line in one) >= 4
