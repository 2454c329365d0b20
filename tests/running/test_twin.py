"""The float32 twin: what it is, recomputed on a copy of the model, and that asking for it changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from altgrad_core.contracts.events import Backpropagated, Began, Event, Updated
from altgrad_core.contracts.monitor import Monitor, Readings
from altgrad_core.numerics.random import derive_key
from altgrad_core.running.assembly.run import Run
from altgrad_core.running.loop.dispatch import Decision, Dispatch
from altgrad_core.running.model.layers import QuantizedModule, detach
from altgrad_core.running.model.twin import Twin
from altgrad_core.running.model.view import StepView, watched_weights
from altgrad_core.testing import check_monitor
from altgrad_core.testing.tiny import bits, tiny_run, train

if TYPE_CHECKING:
    from tests.running.conftest import Runs

TRAINED = ("model.safetensors", "optimizer.json", "optimizer.safetensors", "plan.json")


class Asking(Monitor):
    """Asks for everything that a twin can tell."""

    name: ClassVar = "asking"
    on: ClassVar = Backpropagated
    reports: ClassVar = ("twin-norm", "twin-bend")

    def observe(self, event: Any) -> Readings:
        gradients = event.twin()
        shared: dict[int, str] = {}
        for weight in event.weights(self.layers):
            shared.setdefault(weight.after.data_ptr(), weight.path)
        chosen = {path: gradients[path] for path in shared.values()}
        products = event.hvp(chosen)
        return {
            "twin-norm": {path: gradient.norm() for path, gradient in chosen.items()},
            "twin-bend": {path: (products[path] * gradient).sum() for path, gradient in chosen.items()},
        }


class AskingAfter(Asking):
    """The same after the update."""

    name: ClassVar = "asking-after"
    on: ClassVar = Updated
    reports: ClassVar = ("late-twin-norm", "late-twin-bend")

    def observe(self, event: Any) -> Readings:
        return {f"late-{name}": values for name, values in super().observe(event).items()}


class Looking(Dispatch):
    """A dispatch that shows every event to a function first."""

    def __init__(self, run: Run, look: Callable[[Event], None]) -> None:
        super().__init__((), (), None)  # type: ignore[arg-type]
        self.look = look

    def emit(self, event: Event, own: dict[str, float]) -> list[Decision]:
        self.look(event)
        return []


def on_the_way(runs: Runs, look: Callable[[Run, Event], None], *settings: str, steps: int = 3) -> None:
    """Train the manifest of these tests for some steps, without files, and look at every event."""
    from altgrad_core.manifest.load import load_manifest
    from altgrad_core.running.assembly.assemble import assemble
    from altgrad_core.running.assembly.resolve import resolve

    run = assemble(resolve(load_manifest(runs.manifest(), [f"run.steps={steps}", *settings]), runs.registry()))
    train(run, dispatch=Looking(run, partial(look, run)))


def obvious_gradients(run: Run, step: int) -> dict[str, Tensor]:
    """The gradients of all micro-batches of a step, on a copy of the model whose layers are ordinary ones."""
    model = copy.deepcopy(run.model)
    for module in model.modules():
        if isinstance(module, QuantizedModule):
            detach(module)
        assert module.training
    model.zero_grad()
    manifest = run.resolved.manifest
    with torch.random.fork_rng(devices=()):
        for micro_batch in range(manifest.data.accumulate):
            torch.manual_seed(derive_key(manifest.run.seed, "forward", step, micro_batch))
            tokens, targets = run.batches.train(step, micro_batch)
            loss = functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
            (loss / manifest.data.accumulate).backward()
    return {path: weight.grad for path, weight in watched_weights(model).items() if weight.grad is not None}


def test_it_has_the_gradients_of_the_same_weights_and_batches_without_quantization(runs: Runs) -> None:
    seen = []

    def look(run: Run, event: Event) -> None:
        if isinstance(event, Backpropagated | Updated):
            twin, obvious = event.twin(), obvious_gradients(run, event.step)
            assert {path: bits(g) for path, g in twin.items()} == {path: bits(g) for path, g in obvious.items()}
            differ = [w.path for w in event.weights() if not torch.equal(w.gradient, twin[w.path])]
            assert len(differ) == len(obvious)  # the real ones are quantized
            seen.append(type(event))

    on_the_way(runs, look)
    assert seen == [Backpropagated, Updated] * 3


def test_of_a_run_that_does_not_quantize_it_is_the_run_itself(runs: Runs) -> None:
    runs.text = runs.text[: runs.text.index("[[recipe]]")].replace("manifold-adamw", "adamw")

    def look(run: Run, event: Event) -> None:
        if isinstance(event, Backpropagated):
            twin = event.twin()
            assert all(torch.equal(w.gradient, twin[w.path]) for w in event.weights())

    on_the_way(runs, look)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_its_products_are_those_of_the_full_hessian(accumulate: int, runs: Runs) -> None:
    asked = []

    def look(run: Run, event: Event) -> None:
        if isinstance(event, Backpropagated) and event.step == 2:
            names = ("blocks.0.attn.qkv", "blocks.0.mlp.c_proj", "wpe")
            full = full_hessian(run, event.step, names)
            weights = {w.path: w.after for w in event.weights("|".join(names))}
            generator = torch.Generator().manual_seed(0)
            v = {name: torch.randn(weights[name].shape, generator=generator) for name in names}
            products = event.hvp(v)
            expected = full @ torch.cat([part.flatten() for part in v.values()]).double()
            found = torch.cat([products[name].flatten() for name in names]).double()
            assert float((found - expected).norm() / expected.norm()) < 1e-5
            alone = event.hvp({"wpe": v["wpe"]})["wpe"].flatten().double()  # everything else is held fixed
            size = alone.numel()
            assert torch.allclose(alone, full[-size:, -size:] @ v["wpe"].flatten().double(), rtol=1e-4, atol=1e-6)
            asked.append(event.step)

    on_the_way(runs, look, f"data.accumulate={accumulate}", "model.dropout=0.0")
    assert asked == [2]


def full_hessian(run: Run, step: int, names: tuple[str, ...]) -> Tensor:
    """Of the loss of a step with respect to the weights of some layers, in float64, by torch's own full Hessian."""
    model = copy.deepcopy(run.model)
    for module in model.modules():
        if isinstance(module, QuantizedModule):
            detach(module)
    model.double()
    batches = [run.batches.train(step, index) for index in range(run.resolved.manifest.data.accumulate)]
    weights = [model.get_parameter(f"{name}.weight") for name in names]
    sizes, shapes = [w.numel() for w in weights], [w.shape for w in weights]

    def loss(flat: Tensor) -> Tensor:
        parts = {f"{n}.weight": p.reshape(s) for n, p, s in zip(names, flat.split(sizes), shapes, strict=True)}
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            logits = [torch.func.functional_call(model, parts, tokens).flatten(0, 1) for tokens, _ in batches]
        losses = [functional.cross_entropy(x, y.flatten()) for x, (_, y) in zip(logits, batches, strict=True)]
        return torch.stack(losses).mean()

    full: Tensor = torch.autograd.functional.hessian(loss, torch.cat([w.detach().flatten() for w in weights]))  # type: ignore[assignment]
    return full


DELAYED = ("", "")  # as the manifest has it, with scales and counts that remember
ON_GRID = ('use = "manifold-adamw"\nlr = 0.1', 'use = "grid"\nmaster = "none"')  # rounds its steps at random
BLOCKS = (
    'weight = { format = "e5m2" }',
    'weight = { format = "e5m2", rounding = "stochastic", granularity = "block:4", straight_through = "clipped" }',
)


@pytest.fixture(params=[DELAYED, ON_GRID, BLOCKS], ids=["delayed", "on grid", "blocks"])
def plain(request: pytest.FixtureRequest, runs: Runs) -> Runs:
    """A manifest of everything random and stateful, with nobody asking, and its run in the directory `plain`."""
    before, after = request.param
    assert before in runs.text
    runs.text = runs.text[: runs.text.index("[[monitor]]")].replace(before, after)
    runs.begin("plain")
    runs.offers = {"monitor": [Asking, AskingAfter]}
    runs.text += '\n[[monitor]]\nuse = "asking"\n\n[[monitor]]\nuse = "asking-after"\nevery = 3\n'
    return runs


def outcome(runs: Runs, name: str) -> list[object]:
    result = runs.result(name)
    own = [{**record, "readings": []} for record in runs.records(name) if record["kind"] != "reading"]
    return [own, *(result[file] for file in TRAINED)]


def test_asking_at_every_step_changes_no_bit_of_the_run(plain: Runs) -> None:
    plain.begin("asked")
    kinds = [record["kind"] for record in plain.records("asked")]
    assert kinds.count("reading") == 2 * 20 + 2 * 6
    assert "monitor-failed" not in kinds
    assert outcome(plain, "asked") == outcome(plain, "plain")


def test_asking_changes_no_bit_of_a_run_that_is_interrupted_and_resumed(plain: Runs) -> None:
    plain.begin("asked")
    plain.begin("run", at=5)
    plain.resume(at=11)
    plain.resume()
    assert plain.result() == plain.result("asked")  # the readings too
    assert outcome(plain, "run") == outcome(plain, "plain")


@pytest.mark.parametrize("monitor", [Asking, AskingAfter])
def test_asking_leaves_gradients_modes_plan_and_generators_as_they_were(monitor: type[Monitor]) -> None:
    check_monitor(monitor)


def test_the_gradients_are_computed_once_for_all_who_ask() -> None:
    passes = []

    def loss() -> Tensor:
        passes.append(1)
        return layer.weight.square().sum()

    layer = nn.Linear(2, 2)
    view = StepView({"layer": layer.weight}, None, Twin(layer, {"layer": layer.weight}, [loss]))  # type: ignore[arg-type]
    event = Backpropagated(1, view, 1.0, 1.0)
    assert torch.equal(event.twin()["layer"], 2 * layer.weight)
    event.twin().clear()  # a copy
    assert list(event.twin()) == ["layer"]
    assert len(passes) == 1
    assert torch.equal(event.hvp({"layer": torch.eye(2)})["layer"], 2 * torch.eye(2))


def test_a_loss_without_curvature_has_products_of_zero_and_frozen_weights_no_gradient() -> None:
    layer, frozen = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False)
    model = nn.ModuleDict({"layer": layer, "frozen": frozen})
    twin = Twin(model, watched_weights(model), [lambda: layer.weight.sum() + frozen.weight.sum()])
    assert list(twin.gradients) == ["layer"]
    assert torch.equal(twin.hvp({"layer": torch.ones(2, 2)})["layer"], torch.zeros(2, 2))


def test_layers_that_do_not_exist_or_share_a_weight_are_refused() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = one.weight
    twin = Twin(nn.ModuleList([one, other]), {"one": one.weight, "other": other.weight}, [one.weight.sum])
    with pytest.raises(ValueError) as caught:
        twin.hvp({"three": torch.ones(2, 2)})
    assert str(caught.value) == 'no layer "three" with a weight matrix; there are one, other'
    with pytest.raises(ValueError) as caught:
        twin.hvp({"one": torch.ones(2, 2), "other": torch.ones(2, 2)})
    assert str(caught.value) == "of one, other some share one weight; name each weight once"


def test_events_outside_a_step_have_no_twin() -> None:
    run = tiny_run()
    assert not hasattr(Began(0, StepView(watched_weights(run.model), run.plan)), "twin")
    with pytest.raises(TypeError, match="this event has no twin: it belongs to no training step"):
        StepView(watched_weights(run.model), run.plan).twin()
