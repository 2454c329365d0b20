"""`advise` for the operands of attention and for gradients, whose cost is seen in the loss after steps of descent."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import altgrad_core as ag
from altgrad_core.running.evaluation.advice import asking
from altgrad_core.running.evaluation.evaluate import subject_of

ALL = ("weight", "activation", "gradient", "query", "key", "probability", "value", "score_gradient", "output_gradient")
HEADS, WIDTH, TIME, TOKENS = 2, 8, 6, 12


class Attending(nn.Module):
    """Predicts, for every position, the token two places before it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(TOKENS, WIDTH), nn.Embedding(TIME, WIDTH)
        self.qkv, self.head = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, TOKENS)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens) + self.place.weight
        q, k, v = (part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(mixed.transpose(1, 2).flatten(2))


def batch(seed: int) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(TOKENS, (16, TIME), generator=torch.Generator().manual_seed(seed))
    return tokens, tokens.roll(2, dims=1)


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs[:, 2:].flatten(0, 1), targets[:, 2:].flatten())


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    found = Attending()
    optimizer = torch.optim.Adam(found.parameters(), lr=0.02)
    for step in range(120):
        optimizer.zero_grad()
        x, y = batch(step)
        loss(found(x), y).backward()
        optimizer.step()
    return found


def choices(roles: Sequence[str], steps: int = 1) -> ag.Choices:
    return ag.Choices(("e2m1", "e3m2", "e4m3"), ("tensor",), roles, steps)


def batches(first: int, count: int) -> list[tuple[Tensor, Tensor]]:
    return [batch(first + n) for n in range(count)]


class Own(ag.Task):
    """The loss above as a task."""

    name, unit, outputs, initial_loss = "own", "", TOKENS, 2.5  # type: ignore[assignment]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets)

    def each(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return loss(outputs, targets).double().expand(len(targets))


def test_the_loss_after_steps_is_that_of_descending_by_hand(model: nn.Module) -> None:
    seen, unseen = batches(1000, 2), batches(2000, 3)
    subject = asking(
        subject_of(model, unseen, task=Own(), calibration=seen), choices(["gradient", "score_gradient"], 3)
    )
    rate = subject.descent.rate
    rule = ag.Rule(
        "*", gradient=ag.Quantizer(ag.load_format("e2m1")), score_gradient=ag.Quantizer(ag.load_format("e5m2"))
    )
    found = subject.measure("a", [rule])
    twin = copy.deepcopy(model).eval()
    plan = ag.quantize_model(twin, [rule])
    for step in range(3):
        x, y = seen[step % 2]
        twin.zero_grad()
        loss(twin(x), y).backward()
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter -= rate * parameter.grad
    with torch.no_grad():
        by_hand = sum(float(loss(twin(x), y)) for x, y in unseen) / 3
    plan.remove()
    assert found.loss == pytest.approx(by_hand, abs=1e-6)
    assert found.loss != pytest.approx(subject.plain().loss, abs=1e-6)


def test_the_model_is_left_as_it_was_and_the_rate_is_the_best_tried(model: nn.Module) -> None:
    before = copy.deepcopy(model.state_dict())
    subject = asking(
        subject_of(model, batches(2000, 1), task=Own(), calibration=batches(1000, 2)), choices(["gradient"], 2)
    )
    assert subject.descent.steps == 2
    assert (
        subject.plain(subject.calibration).loss
        < subject_of(model, batches(1000, 2), task=Own(), calibration=None).plain().loss
    )
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_attention_counts_by_its_multiply_adds(model: nn.Module) -> None:
    roles = ("weight", "activation", "query", "key", "probability", "value")
    subject = asking(subject_of(model, batches(2000, 1), task=Own(), calibration=batches(1000, 1)), choices(roles, 1))
    e4m3, e2m1 = (ag.Quantizer(ag.load_format(name)) for name in ("e4m3", "e2m1"))
    rule = ag.Rule("*", weight=e4m3, activation=e4m3, query=e2m1, key=e2m1, probability=e2m1, value=e2m1)
    linear, attention = 2 * (3 * WIDTH * WIDTH + WIDTH * TOKENS), 4 * TIME * WIDTH
    expected = (8 * linear + 4 * attention) / (linear + attention)
    assert subject.measure("a", [rule]).bits == pytest.approx(expected)
    assert ag.evaluate(model, {"a": [rule]}, batches(1000, 1), task=Own())[1].bits == pytest.approx(expected)


def test_every_role_is_advised_on_and_no_uniform_recipe_of_the_budget_is_better(model: nn.Module) -> None:
    options: Any = {"task": Own(), "calibration": batches(1000, 4)}
    advice = ag.advise(model, batches(2000, 8), bits=6.0, choices=choices(ALL, 2), **options)
    assert {operand.role for operand in advice.operands} == set(ALL)
    assert advice.advised.bits <= 6.0 and advice.descent.steps == 2
    assert all(advice.advised.seen <= point.seen for point in advice.points if point.is_uniform and point.bits <= 6.0)
    gradients = [rule.gradient for rule in advice.rules() if rule.gradient is not None]
    assert gradients and all(quantizer.rounding == "stochastic" for quantizer in gradients)


def test_roles_that_cannot_be_advised_on_are_refused(model: nn.Module) -> None:
    options: Any = {"task": Own(), "calibration": batches(1000, 1), "bits": 8}
    with pytest.raises(ag.ManifestError, match='no role "moment" to advise on; one of weight, activation, gradient'):
        ag.advise(model, batches(1000, 1), choices=choices(["moment"]), **options)
    with pytest.raises(ag.ManifestError, match="at least one role and one step, got 1 and 0"):
        ag.advise(model, batches(1000, 1), choices=choices(["gradient"], 0), **options)
    perceptron = nn.Sequential(nn.Linear(4, 4))
    with pytest.raises(ag.ManifestError, match="no layer of the model has the role query"):
        ag.advise(perceptron, [(torch.ones(2, 4), torch.ones(2, 4))], choices=choices(["query"]), **{**options, "calibration": [
            (torch.ones(2, 4), torch.ones(2, 4))], "task": functional.mse_loss})  # fmt: skip


def test_the_command_advises_on_gradients_and_attention(
    tmp_path: Path, tiny: Path, altgrad: Callable[..., Any]
) -> None:
    short = ("--batches", 1, "--calibrate", 2, "--granularity", "tensor", "--format", "e4m3", "--format", "e5m2")
    roles = [part for role in ("gradient", "probability", "score_gradient") for part in ("--role", role)]
    told = altgrad("advise", tiny, "--bits", 8, *roles, "--steps", 1, "--out", tmp_path / "advised.toml", *short)
    assert told.code == 0, told.err
    assert 'rounding = "stochastic"' in (tmp_path / "advised.toml").read_text()
    page = (tmp_path / "advised.html").read_text()
    assert "Losses are those after 1 step of gradient descent" in page and "score_gradient" in page
    told = altgrad("advise", tiny, "--bits", 8, "--role", "moment")
    assert told.code == 2 and 'no role "moment" to advise on' in told.err
