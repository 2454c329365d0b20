"""`altgrad run --from RUN_DIR@STEP`: a run that begins where another one stood."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.results.lines import RecordReader

if TYPE_CHECKING:
    from tests.conftest import Said

SAVES = ("--set", "run.checkpoint_every=2", "--set", "run.keep_checkpoints=9")
RECIPE = "recipe=[{layers='blocks.*', weight={format='FORMAT'}, activation={format='e4m3', scaling='delayed'}}]"
CHAIN = (
    "optimizer={use='manifold-adamw', bit_position=true, group=[{layers='*mlp*', use='grid', master='none', lr=1.0}]}"
)


@pytest.fixture
def parent(tiny: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> Path:
    """A finished run of six steps."""
    run(tiny, tmp_path / "parent", altgrad)
    return tmp_path / "parent"


def run(tiny: Path, out: Path, altgrad: Callable[..., Said], *more: str, format: str = "e4m3") -> dict[str, Any]:
    """A run, and its first record."""
    recipe = RECIPE.replace("FORMAT", format)
    told = altgrad("run", tiny, "--out", out, *SAVES, "--set", recipe, "--set", CHAIN, *more)
    assert told.code == 0, told.err
    return next(iter(RecordReader(out / "records.jsonl")))


def saved(directory: Path, step: int = 6) -> dict[str, bytes]:
    names = ("model.safetensors", "optimizer.safetensors", "optimizer.json", "plan.json")
    return {name: (directory / "checkpoints" / f"step-{step}" / name).read_bytes() for name in names}


def test_with_nothing_changed_it_is_the_rest_of_the_same_run(
    tiny: Path, tmp_path: Path, parent: Path, altgrad: Callable[..., Said]
) -> None:
    began = run(tiny, tmp_path / "child", altgrad, "--from", f"{parent}@2")
    assert saved(tmp_path / "child") == saved(parent)
    assert {key: began["parent"][key] for key in ("run", "step", "optimizer")} == {
        "run": str(parent),
        "step": 2,
        "optimizer": "goes on",
    }
    assert len(began["parent"]["sha256"]) == 64
    one, other = (
        [r for r in RecordReader(d / "records.jsonl") if r["kind"] == "step" and r["step"] > 2]
        for d in (parent, tmp_path / "child")
    )
    assert one == other


def test_a_changed_format_goes_on_from_the_weights(
    tiny: Path, tmp_path: Path, parent: Path, altgrad: Callable[..., Said]
) -> None:
    began = run(tiny, tmp_path / "child", altgrad, "--from", f"{parent}@4", format="e3m4")
    assert began["parent"]["optimizer"] == "goes on"
    assert saved(tmp_path / "child", 4)["model.safetensors"] != saved(parent)["model.safetensors"]
    losses = [r["loss"] for r in RecordReader(tmp_path / "child" / "records.jsonl") if r["kind"] == "step"]
    ours = [r["loss"] for r in RecordReader(parent / "records.jsonl") if r["kind"] == "step"]
    assert len(losses) == 2 and losses[0] != ours[4] and abs(losses[0] - ours[4]) < 0.5


def test_another_optimizer_begins_anew_and_the_newest_checkpoint_is_the_default(
    tiny: Path, tmp_path: Path, parent: Path, altgrad: Callable[..., Said]
) -> None:
    more = ("--set", "optimizer={use='adamw'}", "--steps", "8")
    began = run(tiny, tmp_path / "child", altgrad, "--from", str(parent), *more)
    assert (began["parent"]["step"], began["parent"]["optimizer"]) == (6, "starts again")


def test_killed_before_its_first_checkpoint_it_still_knows_its_parent(
    tiny: Path, tmp_path: Path, parent: Path, altgrad: Callable[..., Said]
) -> None:
    child = tmp_path / "child"
    run(tiny, child, altgrad, "--from", f"{parent}@2")
    whole = (child / "records.jsonl").read_bytes()
    (child / "summary.json").unlink()
    for checkpoint in (child / "checkpoints").iterdir():
        for file in checkpoint.iterdir():
            file.unlink()
        checkpoint.rmdir()
    assert altgrad("resume", child).code == 0
    assert (child / "records.jsonl").read_bytes() == whole
    assert saved(child) == saved(parent)


@pytest.mark.parametrize(
    ("start", "more", "code", "error"),
    [
        ("PARENT@3", (), 2, "--from PARENT@3: no checkpoint of step 3; there are those of steps 0, 2, 4, 6"),
        ("PARENT@x", (), 2, "--from PARENT@x: no checkpoint of step x; there are those of steps 0, 2, 4, 6"),
        ("PARENT-", (), 2, "--from PARENT-: PARENT- has no checkpoints; expected RUN_DIR@STEP"),
        ("PARENT@6", (), 2, "PARENT@6: the run here has 6 steps; give it more: --steps N"),
        (
            "PARENT@2",
            ("--set", "model.n_embd=32"),
            1,
            "the checkpoint is of another model: wte.weight has shape (16, 16) there and (16, 32) here",
        ),
    ],
)
def test_what_cannot_be_continued_leaves_nothing_behind(
    start: str,
    more: tuple[str, ...],
    code: int,
    error: str,
    tiny: Path,
    tmp_path: Path,
    parent: Path,
    altgrad: Callable[..., Said],
) -> None:
    told = altgrad("run", tiny, "--out", tmp_path / "child", "--from", start.replace("PARENT", str(parent)), *more)
    assert (told.code, told.err) == (code, f"altgrad: {error.replace('PARENT', str(parent))}\n")
    assert not (tmp_path / "child").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"null", b"\xff", b'{"run": 3, "step": 2}', b'{"run": "x", "step": "2"}']
)
def test_a_run_that_does_not_know_where_it_begins_does_not_begin_elsewhere(
    tiny: Path, tmp_path: Path, parent: Path, altgrad: Callable[..., Said], content: bytes
) -> None:
    child = tmp_path / "child"
    run(tiny, child, altgrad, "--from", f"{parent}@2")
    (child / "summary.json").unlink()
    (child / "parent.json").write_bytes(content)
    told = altgrad("resume", child)
    assert told.code == 0
    assert (
        f"warning: {child}/parent.json: is damaged: the checkpoint from which this run began is not known; it "
        "continues from its own step-6" in told.err
    )
    shutil.rmtree(child / "checkpoints")
    (child / "summary.json").unlink()
    records = (child / "records.jsonl").read_bytes()
    told = altgrad("resume", child)
    assert (child / "records.jsonl").read_bytes() == records
    assert (told.code, told.err.splitlines()[-1]) == (
        1,
        f"altgrad: {child}/parent.json: is damaged: it does not name the checkpoint that this run begins with; start it "
        f"again: altgrad run {child}/resolved.toml --from RUN_DIR@STEP --out ANOTHER_DIRECTORY",
    )
    assert not (child / "checkpoints").exists() and not (child / "failure.md").exists()
