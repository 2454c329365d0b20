"""A checkpoint is read with the manifest it was trained with, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import altgrad_core as ag

if TYPE_CHECKING:
    from tests.conftest import Said

COMMANDS = {
    "resume": ("{run}",),
    "export": ("{run}", "--out", "{out}"),
    "evaluate": ("{run}", "--csv", "{out}"),
    "advise": ("{run}", "--bits", "6", "--out", "{out}"),
}


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("model.n_embd=8", "the checkpoint is of another model: wte.weight has shape (16, 16) there and (16, 8) here"),
        ("recipe=[]", "the saved plan is of another recipe: they differ in the activation of blocks.0.attn.c_proj"),
    ],
)
def test_settings_that_do_not_fit_the_checkpoint_are_refused_with_its_place(
    setting: str, why: str, finished: Path, altgrad: Callable[..., Said]
) -> None:
    said = altgrad("evaluate", finished, "--batches", "1", "--calibrate", "1", "--set", setting)
    told = f"altgrad: {finished}: cannot be evaluated with these settings: {why}; leave out --set of model, data or recipe\n"
    assert (said.code, said.err) == (1, told)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_whose_manifest_was_edited_is_refused(
    command: str, unfinished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    resolved, out = unfinished / "resolved.toml", tmp_path / "out"
    text = resolved.read_text()
    assert 'format = "e4m3"' in text
    resolved.write_text(text.replace('format = "e4m3"', 'format = "e5m2"'))
    said = altgrad(command, *(word.format(run=unfinished, out=out) for word in COMMANDS[command]))
    assert (said.code, said.out, said.err) == (
        1,
        "",
        f"altgrad: {resolved}: is not the manifest that the checkpoint of step 6 was trained with; restore that one, or start "
        f"a separate run from there: altgrad run {resolved} --from {unfinished}@6 --out ANOTHER_DIRECTORY\n",
    )
    assert not out.exists()


def test_a_report_and_a_diagnosis_of_it_say_so(unfinished: Path, altgrad: Callable[..., Said]) -> None:
    resolved = unfinished / "resolved.toml"
    told = altgrad("diagnose", unfinished)
    assert (told.code, told.err) == (0, "")
    resolved.write_text(resolved.read_text().replace("lr = 0.1", "lr = 0.2"))
    told = altgrad("diagnose", unfinished)
    assert (told.code, told.err) == (0, f"warning: {resolved}: is not the manifest of the checkpoint of step 6\n")
    assert ag.load(unfinished).problems == (
        f"{unfinished}: resolved.toml of {unfinished.name} is not what the last checkpoint was trained with, so the settings shown may "
        "be wrong; put the file back",
    )
