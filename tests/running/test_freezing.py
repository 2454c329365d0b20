"""Elements that turn back too often are held: one element at a time in Python, and in whole runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.model.freezing import Freezing
from altgrad_core.testing.tiny import Tape, bits, everything, tiny_run, train

if TYPE_CHECKING:
    from tests.conftest import Said

STEPS, ABOVE = 60, 0.04


class FollowAtThree(ag.Intervention):
    """Has the layers followed at the third step."""

    name: ClassVar = "follow-at-three"
    reads: ClassVar = "learning-rate"
    acts: ClassVar = (ag.ScaleLearningRate,)
    layer: str = "wide"
    above: float = 0.015

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[ag.Action]:
        if step == 3:
            yield ag.ScaleLearningRate(factor=0.0, layer=self.layer, reversing=self.above, because="enough")


class Expected:
    """One element in Python floats; `rung` and `value` are those of a grid without scale."""

    def __init__(self, weight: float, grid: Any) -> None:
        self.grid, self.weight = grid, weight
        self.direction, self.frequency, self.is_held = 0, 0.0, False
        self.average = grid.value(grid.rung(weight))

    def step(self, weight: float) -> None:
        before, after = self.grid.rung(self.weight), self.grid.rung(weight)
        direction = 0 if self.is_held else (after > before) - (after < before)
        self.frequency += 0.01 * ((direction * self.direction < 0) - self.frequency)
        self.average += 0.01 * (self.grid.value(after) - self.average)
        self.direction = direction or self.direction
        if not self.is_held and self.frequency > ABOVE:
            self.is_held, weight = True, self.grid.value(self.grid.rung(self.average))
            self.weight = weight
        elif not self.is_held:
            self.weight = weight


@pytest.mark.parametrize("format", ["e0m7", "e4m3", "e5m2", "e7m0"])
def test_what_is_held_and_where_is_that_of_the_definition(format: str) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(8, 4, bias=False)
    start = (torch.rand(4, 8, generator=generator) - 0.5).clamp(min=0.01)
    with torch.no_grad():
        layer.weight.copy_(start)
    weights = ag.Quantizer(ag.load_format(format), scaling="none")
    freezing = Freezing(ag.quantize_model(nn.Sequential(layer), [ag.Rule("0", weight=weights)]))
    assert freezing.follow("*", above=ABOVE) == ["0"] and freezing.follow("0", above=0.9) == []
    grid = ag.Geometry.of(ag.load_format(format))
    by_one = Scalar(grid)
    elements = [Expected(x, by_one) for x in start.flatten().tolist()]
    period = torch.randint(1, 30, (4, 8), generator=generator)
    for step in range(STEPS):
        up = torch.where(step // period % 2 == 0, 1.0, 0.6) * start
        after = up + 0.001 * torch.rand(4, 8, generator=generator)
        with freezing.in_force(), torch.no_grad():
            layer.weight.copy_(after)
        for element, weight in zip(elements, after.flatten().tolist(), strict=True):
            element.step(weight)
        assert layer.weight.flatten().tolist() == pytest.approx([element.weight for element in elements], rel=1e-6)
    assert 0 < freezing.held() == sum(element.is_held for element in elements) < len(elements)


class Scalar:
    """Rungs and values of single floats."""

    def __init__(self, grid: ag.Geometry) -> None:
        self.grid = grid

    def rung(self, x: float) -> int:
        return int(self.grid.rung(torch.tensor(x)))

    def value(self, rung: int) -> float:
        return float(self.grid.value(torch.tensor(rung)))


def held_run(**options: Any) -> Any:
    return tiny_run(interventions=[FollowAtThree(**options)], steps=120)


def test_what_is_held_never_moves_again_and_the_rest_does() -> None:
    run = held_run()
    tape = train(run, until=60)
    (action,) = tape.of("action")
    assert (action["layers"], action["held"], action["layer"]) == (["wide"], 0, "wide")
    weight = dict(run.model.named_parameters())["wide.weight"]
    mask, before = run.freezing.state_dict()["wide"]["held"], weight.detach().clone()
    assert 0 < int(mask.sum()) < mask.numel()
    train(run, tape)
    after = weight.detach()
    assert torch.equal(after[mask], before[mask])
    assert not torch.equal(after[~mask], before[~mask])
    assert run.freezing.held() >= int(mask.sum())


def test_until_it_is_asked_for_nothing_changes() -> None:
    plain, asked = tiny_run(steps=120), held_run(above=0.9)
    train(plain)
    train(asked)
    assert everything(plain) == everything(asked)  # of those that are followed none turned back that often
    assert plain.files().keys() == asked.files().keys() - {"freezing.json", "freezing.safetensors"}


@pytest.mark.parametrize("until", [2, 3, 40, 90])
def test_a_resumed_run_holds_the_same(until: int) -> None:
    whole, first, second = held_run(), held_run(), held_run()
    train(whole)
    tape = train(first, until=until)
    second.restore(first.files())
    train(second, tape)
    assert everything(whole) == everything(second)
    assert [bits(value) for value in tensors(whole)] == [bits(value) for value in tensors(second)]


def tensors(run: Any) -> list[torch.Tensor]:
    return [value for known in run.freezing.state_dict().values() for value in known.values() if torch.is_tensor(value)]


def test_a_layer_that_is_followed_already_is_left_to_the_first() -> None:
    run = tiny_run(interventions=[FollowAtThree(), FollowAtThree(layer="*", above=0.5), FollowAtThree()], steps=4)
    records = train(run, Tape())
    told = [
        (r["kind"], r["instance"], r.get("layers")) for r in records.records if r["kind"] in ("action", "overruled")
    ]
    assert told == [("action", 1, ["wide"]), ("action", 2, ["hidden"]), ("overruled", 3, None)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"factor": 0.5, "reversing": 0.1}, "reversing needs a factor of 0, which freezes a weight; got 0.5"),
        ({"factor": 0.0, "layer": "a"}, 'the rate of layer "a" alone can only be set to 0, with reversing'),
    ],
)
def test_rates_of_elements_are_set_to_zero_or_left(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ag.ScaleLearningRate(because="why not", **options)


def test_the_guard_freezes_and_its_log_replays(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    monitor = "monitor=[{use='reversals', every=5, at_least=1}]"
    guard = "intervention=[{use='freeze-oscillating', above=0.01, frequency=0.005, layers='*mlp*'}]"
    settings = ("--set", monitor, "--set", guard, "--set", "optimizer={use='sgd', lr=0.5}", "--steps", "40")
    told = altgrad("run", tiny, "--out", tmp_path / "first", *settings)
    assert told.code == 0, told.err
    resolved = tmp_path / "first" / "resolved.toml"
    assert altgrad("run", resolved, "--replay", tmp_path / "first", "--out", tmp_path / "again").code == 0
    one, other = (list(RecordReader(tmp_path / name / "records.jsonl")) for name in ("first", "again"))
    actions = [r for r in one if r["kind"] == "action"]
    assert {r["layer"] for r in actions} == {"blocks.0.mlp.fc", "blocks.0.mlp.c_proj"}
    assert all(" oscillates, more than 0.01" in r["because"] for r in actions)
    assert [r for r in one if r["kind"] == "step"] == [r for r in other if r["kind"] == "step"]
    for file in ("model.safetensors", "freezing.safetensors"):
        first, again = (tmp_path / name / "checkpoints" / "step-40" / file for name in ("first", "again"))
        assert first.read_bytes() == again.read_bytes()
