"""`advise`: on trained models, no uniform recipe of its budget has a smaller loss on batches that it never saw."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import altgrad_core as ag
from altgrad_core.numerics.quantizer import Quantizer
from altgrad_core.running.evaluation.advise import difference, hull
from altgrad_core.running.evaluation.sensitivity import Option

CHOICES = ag.Choices(("e2m1", "e2m3", "e4m3"), ("tensor",))


class Tokens(nn.Module):
    """Predicts the next of two tokens through a wide and a narrow layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.wide, self.head = nn.Embedding(16, 16), nn.Linear(32, 64), nn.Linear(64, 16)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(torch.tanh(self.wide(self.embed(x).flatten(1))))


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4)
    )  # fmt: skip


def numbers(shape: tuple[int, ...]) -> Callable[[int], Any]:
    def batch(seed: int) -> Any:
        random = torch.Generator().manual_seed(seed)
        x = torch.randn(256, *shape, generator=random)
        flat = x.flatten(1)
        parts = flat.unfold(1, flat.shape[1] // 4, flat.shape[1] // 4)
        return x, parts.pow(2).sum(2).argmax(1)

    return batch


def tokens(seed: int) -> Any:
    x = torch.randint(16, (256, 2), generator=torch.Generator().manual_seed(seed))
    return x, (3 * x[:, 0] + x[:, 1] ** 2) % 16


MODELS = [
    (perceptron, numbers((8,)), 4, 6.0),
    (convolutional, numbers((1, 6, 6)), 4, 6.0),
    (Tokens, tokens, 16, 5.0),
]


def trained(build: Callable[[], nn.Module], batch: Callable[[int], Any]) -> nn.Module:
    torch.manual_seed(0)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(150):
        x, y = batch(step)
        loss = functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@pytest.mark.parametrize(("build", "batch", "classes", "bits"), MODELS)
def test_no_uniform_recipe_of_the_budget_is_better(build: Any, batch: Any, classes: int, bits: float) -> None:
    model = trained(build, batch)
    unseen, seen = [batch(1000 + n) for n in range(16)], [batch(2000 + n) for n in range(8)]
    options = {"task": ag.OneOf(classes), "calibration": seen, "choices": CHOICES}
    advice = ag.advise(model, unseen, bits=bits, **options)  # type: ignore[arg-type]
    uniform = {point.name: point for point in advice.points if point.is_uniform}
    assert list(uniform) == ["e2m1", "e2m3", "e4m3"] and [p.bits for p in uniform.values()] == [4, 6, 8]
    assert advice.advised.bits <= bits
    assert all(advice.advised.loss <= point.loss for point in uniform.values() if point.bits <= bits)
    again = ag.evaluate(model, {"advised": advice.rules()}, unseen, task=ag.OneOf(classes))[1]
    assert (again.loss, again.bits) == (advice.advised.loss, pytest.approx(advice.advised.bits))
    if bits < 6:  # between two uniform recipes, a mixed one is better than the smaller
        assert not advice.advised.is_uniform and advice.advised.loss < uniform["e2m1"].loss


def test_a_budget_of_loss_takes_the_fewest_bits() -> None:
    build, batch, classes, _ = MODELS[0]
    model, seen = trained(build, batch), [batch(2000 + n) for n in range(8)]
    options = {"task": ag.OneOf(classes), "calibration": seen, "choices": CHOICES}
    found = [ag.advise(model, seen, loss_above=above, **options) for above in (0.03, 0.2)]  # type: ignore[arg-type]
    assert found[0].advised.bits >= found[1].advised.bits
    for advice, above in zip(found, (0.03, 0.2), strict=True):
        assert advice.advised.seen - advice.plain_seen <= above
    with pytest.raises(ag.ManifestError, match="no recipe is within 0 of the loss of the model as it is; the best is"):
        ag.advise(model, seen, loss_above=0.0, task=ag.OneOf(classes), calibration=seen, choices=ag.Choices(["e2m1"]))


def option(bits: float, above: float) -> Option:
    return Option(Quantizer(ag.load_format("e4m3")), bits, above)


def test_the_hull_is_convex_and_falls() -> None:
    options = [option(8, 0.01), option(4, 1.0), option(6, 0.8), option(5, 0.1), option(16, 0.02), option(8, 0.3)]
    assert [(o.bits, o.above) for o in hull(options)] == [(4, 1.0), (5, 0.1), (8, 0.01)]
    assert [o.bits for o in hull([option(4, -0.1), option(8, -0.3)])] == [4]  # what seems to help is noise


def test_a_difference_has_its_standard_error() -> None:
    assert difference([1.0, 2.0, 3.0], [0.0, 2.0, 1.0]) == (1.0, pytest.approx(1 / 3**0.5))
    assert difference([1.0], [0.5]) == (0.5, 0.0)


def test_mistakes_are_explained() -> None:
    x, y = numbers((8,))(0)
    options: Any = {"task": ag.OneOf(4), "calibration": [(x, y)]}
    with pytest.raises(ag.ManifestError, match="give one budget"):
        ag.advise(perceptron(), [(x, y)], **options)
    with pytest.raises(ag.ManifestError, match=r"no recipe has 3 bits or fewer; the smallest has 4\.00"):
        ag.advise(perceptron(), [(x, y)], bits=3, choices=ag.Choices(["e2m1"], ["tensor"]), **options)
    with pytest.raises(ag.ManifestError, match="no layer that can be quantized"):
        ag.advise(nn.Sequential(nn.Flatten()), [(x, y)], bits=8, **options)


def test_the_command_writes_a_recipe_that_a_manifest_extends(
    tmp_path: Path, tiny: Path, altgrad: Callable[..., Any]
) -> None:
    short = ("--batches", 1, "--calibrate", 2, "--granularity", "tensor", "--format", "e2m1", "--format", "e4m3")
    told = altgrad("advise", tiny, "--bits", 6, "--out", tmp_path / "advised.toml", *short)
    assert told.code == 0 and told.out.startswith("Within at most 6 bits: "), told.err
    tables = tomllib.loads((tmp_path / "advised.toml").read_text())["recipe"]
    assert {table[role]["format"] for table in tables for role in ("weight", "activation")} <= {"e2m1", "e4m3"}
    page = (tmp_path / "advised.html").read_text()
    assert "<svg" in page and "What each layer gets, and why" in page and "blocks.*.mlp.fc" in page
    text = tiny.read_text()
    own = text[: text.index("[[recipe]]")] + text[text.index("[[monitor]]") :]
    (tmp_path / "own.toml").write_text('extends = "advised.toml"\n' + own)
    assert altgrad("check", tmp_path / "own.toml").code == 0
    told = altgrad("evaluate", tiny, "--recipe", tmp_path / "advised.toml", "--batches", 1, "--json")
    assert told.code == 0
    told = altgrad("advise", tiny)
    assert told.code == 2 and "give one budget: --bits 6, or --loss-above 0.01" in told.err
    told = altgrad("advise", tiny, "--loss-above", "inf")
    assert told.code == 2 and "--loss-above inf: expected a finite loss" in told.err
    told = altgrad("advise", tiny, "--bits", 6, "--format", "e4m4")
    assert told.code == 2 and 'no format "e4m4"; did you mean "e4m3"?' in told.err
