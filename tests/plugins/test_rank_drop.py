"""The drop of the stable rank since the warm-up, recomputed by hand from weights of known rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from altgrad_rank import RankDrop, StableRank, bounded
from altgrad_rank.bounded import bounded_stable_rank
from pydantic import ValidationError
from torch import Tensor

from altgrad_core import Intervention, Stop, Updated, Weight, load_format
from altgrad_core.testing.tiny import tiny_run, train

EIGHT = ("e0m7", "e1m6", "e2m5", "e3m4", "e4m3", "e5m2", "e6m1", "e7m0")


def of_rank(rank: float) -> Tensor:
    """A diagonal of 1 and seven equal values such that the stable rank is that number, between 1 and 8."""
    return torch.diag(torch.tensor([1.0, *[((rank - 1) / 7) ** 0.5] * 7]))


def see(monitor: RankDrop, step: int, view_of: Callable[..., SimpleNamespace], **ranks: float) -> Any:
    weights = (Weight(path, of_rank(rank)) for path, rank in ranks.items())
    return monitor.observe(Updated(step, view_of(*weights), 1.0, 0.1))


def near(**numbers: float) -> dict[str, Any]:
    return {path: pytest.approx(number, abs=2e-3) for path, number in numbers.items()}


def test_the_drop_is_that_of_the_average_since_the_warm_up(view_of: Callable[..., SimpleNamespace]) -> None:
    monitor, average, warm = RankDrop(warmup=30, smoothing=0.25), None, None
    for step, rank in zip(range(10, 110, 10), (8, 7, 6, 5, 4, 3, 2, 2, 7, 8), strict=True):
        readings = see(monitor, step, view_of, layer=rank)
        average = rank if average is None else 0.75 * average + 0.25 * rank
        warm = average if step == 30 else warm
        assert readings["rank-average"] == near(layer=average)
        assert readings["rank-drop"] == ({} if warm is None else near(layer=1 - average / warm))
        assert readings["rank-dropped"] == ({} if warm is None else {"layer": int(average < 0.7 * warm)})


@pytest.mark.parametrize(
    ("path", "threshold"),
    [("lm_head", 0.15), ("blocks.3.attn.c_proj", 0.15), ("blocks.3.mlp.c_proj", 0.15), ("blocks.3.mlp.fc", 0.30)],
)
def test_critical_layers_have_a_threshold_of_their_own(
    path: str, threshold: float, view_of: Callable[..., SimpleNamespace]
) -> None:
    for drop, expected in ((threshold - 0.01, 0), (threshold + 0.01, 1)):
        monitor = RankDrop(warmup=0, smoothing=0.999)
        see(monitor, 1, view_of, **{path: 8})
        readings = see(monitor, 2, view_of, **{path: 8 * (1 - drop)})
        assert readings["rank-dropped"] == {path: expected}


def test_the_last_pattern_that_matches_counts() -> None:
    monitor = RankDrop(threshold=0.5, thresholds={"blocks.*": 0.4, "*.fc | head": 0.2, "blocks.0.*": 0.1})
    expected = {"blocks.0.fc": 0.1, "blocks.1.fc": 0.2, "blocks.1.qkv": 0.4, "head": 0.2, "embed": 0.5}
    assert {path: monitor.threshold_of(path) for path in expected} == expected


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(ValidationError):
        RankDrop(thresholds={"*": threshold})


def test_zero_weights_and_broken_ones_have_no_drop(view_of: Callable[..., SimpleNamespace]) -> None:
    monitor = RankDrop(warmup=1)
    broken = Weight("broken", torch.full((2, 2), float("nan")))

    def seen(step: int, zero: Tensor) -> Any:
        return monitor.observe(Updated(step, view_of(Weight("zero", zero), broken), 1.0, 0.1))

    assert seen(1, torch.zeros(8, 8)) == {"rank-average": {"zero": 0.0}, "rank-drop": {}, "rank-dropped": {}}
    assert seen(2, of_rank(8)) == {
        "rank-average": near(zero=0.8),
        "rank-drop": {"zero": 0},
        "rank-dropped": {"zero": 0},
    }


def test_a_weight_that_was_broken_for_a_while_goes_on(view_of: Callable[..., SimpleNamespace]) -> None:
    monitor = RankDrop(warmup=1)
    see(monitor, 1, view_of, layer=8)
    monitor.observe(Updated(2, view_of(Weight("layer", of_rank(8) * float("nan"))), 1.0, 0.1))
    assert see(monitor, 3, view_of, layer=4)["rank-average"] == near(layer=7.6)


@pytest.mark.parametrize("format", EIGHT)
def test_a_resumed_run_reports_the_same(format: str) -> None:
    def run() -> Any:
        return tiny_run(format=load_format(format), monitors=[RankDrop(every=2, warmup=3)])

    first, second = run(), run()
    tape = train(first, until=5)
    second.restore(first.files())
    expected = train(run()).of("reading")
    assert train(second, tape).of("reading") == expected
    assert {record["step"] for record in expected if record["reading"] == "rank-drop"} == {4, 6, 8, 10, 12}


class StopAtDrop(Intervention):
    """Stop once the rank of a layer has dropped beyond its threshold."""

    name = "stop-at-drop"
    reads = "rank-dropped"
    acts = (Stop,)

    def decide(self, step: int, readings: dict[str, Any]) -> Iterable[Stop]:
        yield from (Stop(because=f"{path} has dropped") for path, dropped in readings.items() if dropped)


def test_an_intervention_can_act_on_it() -> None:
    run = tiny_run(monitors=[RankDrop(every=1, warmup=1, smoothing=0.9)], interventions=[StopAtDrop()])
    tape = train(run, until=3)
    run.model.get_submodule("wide").weight.data.add_(10)  # nearly rank one
    train(run, tape)
    assert (run.progress.stopped, run.progress.step) == ("stopped", 4)
    assert tape.of("reading")[-1]["values"]["wide"] == 1


def test_the_warm_up_is_a_tenth_of_the_run_unless_it_is_given(view_of: Callable[..., SimpleNamespace]) -> None:
    for monitor, first in ((RankDrop(), 100), (RankDrop(warmup=30), 30)):  # the view is of 1000 steps
        steps = [step for step in (29, 30, 99, 100) if see(monitor, step, view_of, layer=4)["rank-drop"]]
        assert steps[0] == first
        assert (monitor.begins("rank-average", 1000), monitor.begins("rank-drop", 1000)) == (0, first)


def test_both_monitors_of_the_stable_rank_compute_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def counted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return bounded_stable_rank(*arguments, **options)

    monkeypatch.setattr(bounded, "bounded_stable_rank", counted)
    alone = train(tiny_run(monitors=[StableRank(every=3)])).of("reading")
    assert len(calls) == 4 * 4  # layers and steps
    both = train(tiny_run(monitors=[RankDrop(every=3), StableRank(every=3)])).of("reading")
    assert len(calls) == 2 * 16
    assert [r for r in both if r["monitor"] == "stable-rank"] == alone
    train(tiny_run(monitors=[RankDrop(every=3, tolerance=0.01), StableRank(every=3)]))
    assert len(calls) == 4 * 16
