"""`watch`: a training loop of one's own writes the records of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import altgrad_core as ag
from altgrad_core.manifest.load import load_manifest
from altgrad_core.records.directory import RunDirectory
from altgrad_core.registry.registry import installed
from altgrad_core.results.lines import RecordReader
from altgrad_core.running.assembly.assemble import assemble
from altgrad_core.running.assembly.resolve import resolve
from altgrad_core.running.session.session import begin

DELAYED = ag.Rule("*", weight=ag.Quantizer("e4m3"), activation=ag.Quantizer("e4m3", scaling="delayed"))
MONITORS = ["stable-rank", {"use": "flips", "every": 1}, "gradient-norms", "quantization-error"]


class Training:
    """A loop as users write them."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 8))
        self.plan = ag.quantize_model(self.model, [DELAYED])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.01)
        self.plan.attach(self.optimizer)

    def loss(self, step: int) -> torch.Tensor:
        x = torch.randint(8, (16,), generator=torch.Generator().manual_seed(step))
        return nn.functional.cross_entropy(self.model(x), (3 * x + 1) % 8)

    def steps(self, first: int, last: int, watch: ag.Watch | None = None) -> list[float]:
        losses = []
        for step in range(first, last + 1):
            loss = self.loss(step)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            if watch is not None:
                watch.step(loss)
            losses.append(loss.item())
        return losses

    def watch(self, out: Path, **options: Any) -> ag.Watch:
        return ag.watch(self.model, self.optimizer, **{"monitors": MONITORS, "every": 2, "out": out, **options})


def records(path: Path, *kinds: str) -> list[dict[str, Any]]:
    found = list(RecordReader(path / "records.jsonl"))
    return [record for record in found if not kinds or record["kind"] in kinds]


def test_the_readings_are_those_of_a_run_of_the_same_steps(tmp_path: Path, tiny: Path) -> None:
    source = tiny.read_text().replace("steps = 6", "steps = 4").replace('"manifold-adamw"', '"adamw"')
    text = source.split("[[monitor]]")[0] + "".join(
        f'[[monitor]]\nuse = "{name}"\nevery = 2\n' for name in ("flips", "gradient-norms", "gradient-fidelity", "stability")
    )  # fmt: skip
    tiny.write_text(text)
    resolved = resolve(load_manifest(tiny), installed())
    begin(resolved, RunDirectory(tmp_path / "run"), overwrite=False, show=lambda record: None)
    run = assemble(resolved)
    with ag.watch(run.model, run.optimizer, monitors=run.monitors, out=tmp_path / "own", steps=4) as watch:
        for step in range(1, 5):
            tokens, targets = run.batches.train(step, 0)

            def again(tokens: Any = tokens, targets: Any = targets) -> torch.Tensor:
                return nn.functional.cross_entropy(run.model(tokens).flatten(0, 1), targets.flatten())

            run.plan.moment.phase, run.plan.moment.step = "train", step
            loss = again()
            loss.backward()
            watch.twin(again)
            run.optimizer.step()
            run.plan.step()
            run.optimizer.zero_grad()
            watch.step(loss)
    assert records(tmp_path / "own", "reading") == records(tmp_path / "run", "reading")
    theirs = [(r["loss"], r["gradient_norm"]) for r in records(tmp_path / "run", "step")]
    assert [(r["loss"], r["gradient_norm"]) for r in records(tmp_path / "own", "step")] == theirs


def test_commands_and_load_read_it(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    own = Training()
    with own.watch(tmp_path / "own") as watch:
        losses = own.steps(1, 6, watch)
        watch.evaluated(own.loss(0))
    told = altgrad("diagnose", tmp_path / "own")
    assert told.code == 0 and "# own: finished at step 6\n" in told.out
    assert altgrad("report", tmp_path / "own").code == 0
    assert "torch.optim:AdamW in e4m3" in (tmp_path / "own" / "report.md").read_text()
    found: Any = ag.load(tmp_path / "own")
    frame = found.losses()
    assert frame[frame["phase"] == "train"]["loss"].tolist() == losses
    assert set(found.readings("stable-rank")["step"]) == {2, 4, 6} and set(found.readings("flips")["step"]) == {
        *range(1, 7)
    }
    assert found.manifest["recipe"][0]["activation"] == {"format": "e4m3", "scaling": "delayed"}
    assert (found.status, found.problems) == ("finished", ())
    assert altgrad("resume", tmp_path / "own").code == 0
    (tmp_path / "own" / "summary.json").unlink()
    told = altgrad("resume", tmp_path / "own")
    assert told.code == 2 and "is the run of a training script; only the script can continue it" in told.err
    asked = altgrad("evaluate", tmp_path / "own")
    assert asked.code == 2 and "only the script can build its model: call altgrad_core.evaluate there" in asked.err
    exported = altgrad("export", tmp_path / "own", "--out", tmp_path / "model.safetensors")
    assert exported.code == 2 and "only the script can build its model: call plan.export there" in exported.err
    resolved = tmp_path / "own" / "resolved.toml"
    for command in ("check", "run"):
        told = altgrad(command, resolved)
        assert (told.code, told.err.strip().removeprefix("altgrad: ")) == (
            2,
            f"{resolved}: is the run of a training script; only the script can repeat the run: start the script",
        )


def test_watching_moves_no_number(tmp_path: Path) -> None:
    plain, watched = Training(), Training()
    with watched.watch(tmp_path / "own") as watch:
        assert watched.steps(1, 6, watch) == plain.steps(1, 6)


@pytest.mark.parametrize("how", ["argument", "keyword"])
def test_a_step_with_a_closure_is_observed_with_its_own_gradients(tmp_path: Path, how: str) -> None:
    plain, closed = Training(), Training()
    watch = plain.watch(tmp_path / "plain")
    plain.steps(1, 4, watch)
    watch = closed.watch(tmp_path / "closed")
    for step in range(1, 5):

        def closure(step: int = step) -> torch.Tensor:
            closed.optimizer.zero_grad()
            loss = closed.loss(step)
            loss.backward()
            return loss

        watch.step(closed.optimizer.step(closure) if how == "argument" else closed.optimizer.step(closure=closure))
    kinds = ("step", "reading")
    assert records(tmp_path / "closed", *kinds) == records(tmp_path / "plain", *kinds)


def test_it_continues_from_a_saved_state_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole = Training()
    with whole.watch(tmp_path / "whole") as watch:
        losses = whole.steps(1, 8, watch)
    first = Training()
    with pytest.raises(KeyboardInterrupt), first.watch(tmp_path / "whole-2") as watch:
        first.steps(1, 4, watch)
        saved = {
            "model": first.model.state_dict(),
            "optimizer": first.optimizer.state_dict(),
            "watch": watch.state_dict(),
        }
        torch.save(saved, tmp_path / "saved.pt")
        first.steps(5, 6, watch)
        raise KeyboardInterrupt
    second = Training()
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    second.model.load_state_dict(dict(saved["model"]))  # a plain dict, as other files have it: without scales
    second.optimizer.load_state_dict(saved["optimizer"])
    with second.watch(tmp_path / "whole-2", resume=True) as watch:
        watch.load_state_dict(saved["watch"])
        assert second.steps(5, 8, watch) == losses[4:]
    one, two = ((tmp_path / name / "records.jsonl").read_text() for name in ("whole", "whole-2"))
    assert one == two.replace("whole-2", "whole")


def test_a_script_that_is_continued_with_more_steps_is_not_beyond_its_end(
    tmp_path: Path, altgrad: Callable[..., Any]
) -> None:
    own = Training()
    with own.watch(tmp_path / "own", steps=2) as watch:
        own.steps(1, 2, watch)
        saved = watch.state_dict()
    assert "step 2 of 2" in altgrad("runs", tmp_path).out
    with own.watch(tmp_path / "own", steps=4, resume=True) as watch:
        watch.load_state_dict(saved)
        own.steps(3, 4, watch)
    said = altgrad("runs", tmp_path).out
    assert "step 4" in said and "of 2" not in said
    assert "at step 4\n" in altgrad("diagnose", tmp_path / "own").out


def test_what_breaks_is_named(tmp_path: Path) -> None:
    own = Training()
    with own.watch(tmp_path / "own") as watch:
        own.steps(1, 2, watch)
        own.loss(3).backward()
        own.model[3].weight.grad[0, 0] = torch.inf
        own.optimizer.step()
        watch.step(torch.nan)
    broke = {"step": 3, "phase": "backward", "layer": "3", "role": None, "what": "the gradient of the weight of 3 is not finite"}  # fmt: skip
    assert records(tmp_path / "own", "broke") == [{"kind": "broke", **broke}]
    assert json.loads((tmp_path / "own" / "summary.json").read_text())["status"] == "diverged"


def test_a_crash_leaves_its_traceback(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    own = Training()
    with pytest.raises(ZeroDivisionError), own.watch(tmp_path / "own") as watch:
        own.steps(1, 2, watch)
        raise ZeroDivisionError("of the user")
    assert "of the user" in (tmp_path / "own" / "failure.md").read_text()
    assert ag.load(tmp_path / "own").status == "crashed"  # type: ignore[union-attr]
    own.steps(3, 4)  # the hooks are gone


def test_a_loss_scaler_that_skips_is_counted(tmp_path: Path) -> None:
    own = Training()
    with own.watch(tmp_path / "own") as watch:
        watch.step(1.0)
        own.steps(1, 2, watch)
    told = json.loads((tmp_path / "own" / "summary.json").read_text())
    assert (told["step"], told["skipped_steps"]) == (2, 1)


def test_mistakes_are_explained(tmp_path: Path) -> None:
    own = Training()
    watch = own.watch(tmp_path / "own")
    own.steps(1, 1)
    with pytest.raises(ag.RunError, match=r"own: watch.step\(loss\) was not called after step 1 of the optimizer"):
        own.steps(2, 2)
    watch.step(1.0)
    watch.close()
    with pytest.raises(ag.RunError, match="this watch is closed"):
        watch.step(1.0)
    with pytest.raises(ag.ManifestError, match="own: a run is here; choose another directory with out="):
        own.watch(tmp_path / "own")
    with (
        own.watch(tmp_path / "own", resume=True),
        pytest.raises(ag.RunError, match=r"load_state_dict.* was not called"),
    ):
        own.steps(2, 2)
    with pytest.raises(ag.RunError, match="two: resume=True, but no run is here"):
        own.watch(tmp_path / "two", resume=True)
    with pytest.raises(ag.ManifestError, match=r"watch: monitors\[1\].every: "):
        own.watch(tmp_path / "two", monitors=["flips", {"use": "flips", "every": 0}])
    with pytest.raises(ag.PluginError, match='did you mean "flips"'):
        own.watch(tmp_path / "two", monitors=["flip"])
    with pytest.raises(ag.ManifestError, match=r"watch: expected a model, got a Plan; of a plan, pass plan.model"):
        ag.watch(cast("Any", own.plan), own.optimizer, out=tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_monitor_that_needs_the_step_again_says_so(tmp_path: Path) -> None:
    own = Training()
    with (
        own.watch(tmp_path / "own", monitors=["gradient-fidelity"], every=1) as watch,
        pytest.warns(UserWarning) as said,
    ):
        own.steps(1, 2, watch)
    assert ["watch.twin" in str(warning.message) for warning in said] == [True]
