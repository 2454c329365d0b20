"""What each action does to a run, when, and what the records say of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import altgrad_core as ag
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.discover import Offer, Plugin
from altgrad_core.registry.registry import Registry, installed
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.session import begin


class AtStepThree(ag.Intervention):
    """Takes one action at the third step."""

    name: ClassVar = "at-step-three"
    reads: ClassVar = "loss"
    acts: ClassVar = (ag.Action,)
    kind: str

    def decide(self, step: int, readings: dict[str, Any]) -> Iterator[ag.Action]:
        if step == 3:
            yield {
                "clip": ag.ClipGradients(max_norm=1e-3, because="too steep"),
                "clip one": ag.ClipGradients(max_norm=1e-3, layer="blocks.0.mlp.fc", because="too steep"),
                "skip": ag.SkipStep(because="not this one"),
                "slow": ag.ScaleLearningRate(factor=0.5, because="too fast"),
                "stop": ag.Stop(because="enough"),
                "switch": ag.SwitchFormat(layer="*mlp*", to="e3m4", role="gradient", because="too narrow"),
                "chain": ag.SwitchFormat(layer="*", to={"e4m3": "e3m4", "e3m4": "e5m2"}, because="along"),
                "warn": ag.Warn(layer="blocks.0.mlp.fc", because="look at this"),
            }[self.kind]


def run(tiny: Path, directory: Path, *kinds: str | None) -> list[dict[str, Any]]:
    """The records of a tiny run in which these actions are taken."""
    plugin = Plugin("test", "test", "1", (Offer("intervention", "at-step-three", AtStepThree),))
    chosen = ", ".join(f"{{use='at-step-three', kind='{kind}'}}" for kind in kinds if kind)
    settings = ["optimizer={use='adamw', lr=0.01}", "run.checkpoint_every=1", "run.keep_checkpoints=9"]
    source = load_manifest(tiny, [f"intervention=[{chosen}]", *settings])
    resolved = resolve(source, Registry([*installed().plugins, plugin]))
    begin(resolved, RunDirectory(directory), overwrite=False, show=lambda record: None)
    return list(RecordReader(directory / "records.jsonl"))


def action(records: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (record for record in records if record["kind"] == "action")
    assert (found["step"], found["intervention"]) == (3, "at-step-three")
    return found


def losses(records: list[dict[str, Any]]) -> list[float]:
    return [record["loss"] for record in records if record["kind"] == "step"]


@pytest.fixture
def plain(tiny: Path, tmp_path: Path) -> list[dict[str, Any]]:
    return run(tiny, tmp_path / "plain", None)


def test_skipping_leaves_weights_and_optimizer_as_they_are(tiny: Path, tmp_path: Path) -> None:
    records = run(tiny, tmp_path / "run", "skip")
    assert action(records)["because"] == "not this one"
    assert records[-1]["skipped_steps"] == 1
    updates = [r["values"]["blocks.0.mlp.fc"] for r in records if r["kind"] == "reading" and r["reading"] == "updates"]
    assert updates == [2 * 1024, 3 * 1024, 5 * 1024]  # after steps 2, 4 and 6: the third was no step
    saved = tmp_path / "run" / "checkpoints"
    for name in ("model.safetensors", "optimizer.safetensors"):
        before, after, later = ((saved / f"step-{step}" / name).read_bytes() for step in (2, 3, 4))
        assert before == after != later


def test_clipping_scales_the_gradients_of_that_step(tiny: Path, tmp_path: Path, plain: list[dict[str, Any]]) -> None:
    records = run(tiny, tmp_path / "run", "clip")
    norm = next(r["gradient_norm"] for r in records if r["kind"] == "step" and r["step"] == 3)
    told = action(records)
    assert told["before"] == pytest.approx(norm)
    assert (told["layer"], told["after"]) == ("*", 1e-3)
    assert losses(records)[:3] == losses(plain)[:3]
    assert losses(records)[3] != losses(plain)[3]


def test_clipping_one_layer_measures_that_layer(tiny: Path, tmp_path: Path) -> None:
    records = run(tiny, tmp_path / "run", "clip one")
    norm = next(r["gradient_norm"] for r in records if r["kind"] == "step" and r["step"] == 3)
    assert 0 < action(records)["before"] < norm


def test_scaling_the_rate_lasts_to_the_end(tiny: Path, tmp_path: Path) -> None:
    records = run(tiny, tmp_path / "run", "slow")
    rates = [record["learning_rate"] for record in records if record["kind"] == "step"]
    assert rates == [0.01, 0.01, 0.01, 0.005, 0.005, 0.005]
    assert (action(records)["before"], action(records)["after"]) == (1.0, 0.5)


def test_stopping_ends_the_run_after_the_step_with_a_checkpoint(tiny: Path, tmp_path: Path) -> None:
    records = run(tiny, tmp_path / "run", "stop")
    assert (records[-1]["status"], records[-1]["reason"], records[-1]["step"]) == ("stopped", "enough", 3)
    assert (tmp_path / "run" / "checkpoints" / "step-3" / "checkpoint.json").exists()


def test_switching_acts_before_the_next_step_on_the_role_it_names(
    tiny: Path, tmp_path: Path, plain: list[dict[str, Any]]
) -> None:
    records = run(tiny, tmp_path / "run", "switch")
    assert [(s["layer"], s["role"], s["before"], s["after"]) for s in action(records)["changed"]] == [
        ("blocks.0.mlp.fc", "gradient", "e5m2", "e3m4"),
        ("blocks.0.mlp.c_proj", "gradient", "e5m2", "e3m4"),
    ]
    assert losses(records)[:4] == losses(plain)[:4]  # the gradients of step 4 are the first in the new format
    assert losses(records)[4:] != losses(plain)[4:]
    assert records[-1]["switches"] == 2


def test_a_layer_goes_to_the_next_format_of_a_chain(tiny: Path, tmp_path: Path) -> None:
    told = action(run(tiny, tmp_path / "run", "chain"))
    assert told["to"] == {"e4m3": "e3m4", "e3m4": "e5m2"}
    assert {(switch["role"], switch["before"], switch["after"]) for switch in told["changed"]} == {
        ("weight", "e4m3", "e3m4")
    }
    assert list(told["formats"]) == ["e3m4"] and told["formats"]["e3m4"]["mantissa_bits"] == 4


def test_a_warning_changes_nothing(tiny: Path, tmp_path: Path, plain: list[dict[str, Any]]) -> None:
    records = run(tiny, tmp_path / "run", "warn")
    assert (action(records)["layer"], action(records)["because"]) == ("blocks.0.mlp.fc", "look at this")
    assert losses(records) == losses(plain)


def test_of_two_actions_that_decide_one_thing_the_first_wins(tiny: Path, tmp_path: Path) -> None:
    records = run(tiny, tmp_path / "run", "chain", "slow", "slow", "chain", "stop", "stop")
    told = [(r["kind"], r["action"]) for r in records if r["kind"] in ("action", "overruled")]
    assert told == [
        ("action", "SwitchFormat"),
        ("action", "ScaleLearningRate"),
        ("overruled", "ScaleLearningRate"),
        ("overruled", "SwitchFormat"),
        ("action", "Stop"),
        ("overruled", "Stop"),
    ]
    overruled = [r for r in records if r["kind"] == "overruled"]
    assert {r["step"] for r in overruled} == {3}
    assert [r["because"] for r in overruled] == ["too fast", "along", "enough"]
    switched = next(r["changed"] for r in records if r["kind"] == "action")
    assert records[-1]["switches"] == len(switched) > 0


@pytest.mark.parametrize("factor", [-1.0, float("nan"), float("inf")])
def test_an_action_has_a_factor_that_a_run_can_use(factor: float) -> None:
    made: list[Callable[[], ag.Action]] = [
        lambda: ag.ScaleLearningRate(factor=factor, because=""),
        lambda: ag.RollBack(not_after=1, factor=factor, because=""),
        lambda: ag.ClipGradients(max_norm=factor, because=""),
    ]
    for make in made:
        with pytest.raises(ValueError, match="expected a finite number, 0 or more"):
            make()
    with pytest.raises(ValueError, match='there is no role "wait"; the roles are: weight, '):
        ag.SwitchFormat(layer="*", to="e5m2", role="wait", because="")  # type: ignore[arg-type]
