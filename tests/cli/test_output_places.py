"""No command writes its output over a file of a run or of a study, or over a device."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.forks import files_in

if TYPE_CHECKING:
    from tests.conftest import Said

COMMANDS = {
    "export": ("export", "{run}", "--out", "{place}"),
    "evaluate": ("evaluate", "{run}", "--csv", "{place}"),
    "advise": ("advise", "{run}", "--bits", "6", "--out", "{place}"),
    "schema": ("schema", "--out", "{place}"),
    "train-tokenizer": ("train-tokenizer", "{run}/resolved.toml", "--overwrite", "--out", "{place}"),
    "init": ("init", "{place}", "--force"),
}
FEW = {
    "evaluate": ("--batches", "1", "--calibrate", "1"),
    "advise": ("--batches", "1", "--calibrate", "1", "--format", "e2m1"),
}
OF_A_RUN = (
    "records.jsonl",
    "resolved.toml",
    "env.json",
    "checkpoints/step-8/model.safetensors",
    "checkpoints/step-8/a.b",
)
OF_A_STUDY = ("cells.json", "registration.json", "manifest.toml")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", [*OF_A_RUN, *OF_A_STUDY])
def test_no_file_of_a_run_or_study_is_written_over(
    command: str, name: str, finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    if command == "init" and not name.endswith(".toml"):
        name = {"cells.json": "manifest.toml"}.get(name, "resolved.toml")
    folder = tmp_path / "a folder"
    if name in OF_A_STUDY:
        folder.mkdir()
        for file in OF_A_STUDY:
            (folder / file).write_text("{}")
    else:
        shutil.copytree(finished, folder)
    (tmp_path / "link").symlink_to(folder)
    before, place = files_in(folder), tmp_path / "link" / name  # by another name of the directory
    said = altgrad(*(word.format(run=finished, place=place) for word in COMMANDS[command]))
    option = {"evaluate": "--csv", "init": "PATH"}.get(command, "--out")
    told = f"altgrad: {option} {place}: is a file of the run or study in {folder}; choose another place\n"
    assert (said.code, said.out, said.err) == (2, "", told)
    assert files_in(folder) == before


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"init"}))  # there a directory is one for the manifest
@pytest.mark.parametrize("place", ["", "/", ".", "x/.."])
def test_a_place_without_a_name_is_refused(
    command: str,
    place: str,
    finished: Path,
    tmp_path: Path,
    altgrad: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    said = altgrad(*(word.format(run=finished, place=place) for word in COMMANDS[command]))
    assert (said.code, said.out) == (2, "")
    assert "names no file; expected one, such as" in said.err and said.err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_no_device_or_pipe_is_replaced(
    command: str, finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    places = [tmp_path / "link.toml", tmp_path / "pipe.toml"]
    places[0].symlink_to("/dev/null")  # as /dev/stdout is a link; the device itself is better not tried by root
    os.mkfifo(places[1])
    option = {"evaluate": "--csv", "init": "PATH"}.get(command, "--out")
    for place in places:
        said = altgrad(*(word.format(run=finished, place=place) for word in COMMANDS[command]))
        told = f"altgrad: {option} {place}: is not a regular file; choose another place\n"
        assert (said.code, said.out, said.err) == (2, "", told)
    assert places[0].is_symlink() and places[1].is_fifo()


def test_other_files_beside_those_of_a_run_are_written(
    finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    for _ in range(2):  # the second time over the first
        assert altgrad("export", tmp_path / "run", "--out", tmp_path / "run" / "model.safetensors").code == 0


def test_a_recipe_is_not_written_where_its_page_goes(
    finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    said = altgrad("advise", finished, "--bits", "6", "--out", tmp_path / "a.html")
    told = f"altgrad: --out {tmp_path / 'a.html'}: is where the page would go; name a file for the recipe, such as advised.toml\n"
    assert (said.code, said.err) == (2, told)


def test_the_export_of_a_study_asks_for_one_of_its_runs(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    (tmp_path / "cells.json").write_text("{}")
    said = altgrad("export", tmp_path, "--out", tmp_path / "model")
    assert (said.code, said.err) == (2, f"altgrad: {tmp_path}: is a study of many runs; name one of them\n")


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"train-tokenizer"}))  # these data are no text
def test_missing_directories_are_made(
    command: str, finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    place = tmp_path / "no" / "such" / "a.toml"
    said = altgrad(*(word.format(run=finished, place=place) for word in COMMANDS[command]), *FEW.get(command, ()))
    assert said.code == 0, said.err
    assert place.is_file() and not list(place.parent.glob(".*"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    command: str, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "a.toml"  # root may write where others may not, but not here
    said = altgrad(*(word.format(run=tmp_path / "nowhere", place=place) for word in COMMANDS[command]))
    option = {"evaluate": "--csv", "init": "PATH"}.get(command, "--out")
    told = f"{option} {place}: cannot be written: Not a directory; choose another place"
    assert (said.code, said.out, said.err) == (1, "", f"altgrad: {told}\n")


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"init"}))  # there a directory is one for the manifest
def test_a_directory_in_place_of_the_file_is_told_before_the_work(
    command: str, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    said = altgrad(*(word.format(run=tmp_path / "nowhere", place=tmp_path) for word in COMMANDS[command]))
    option = {"evaluate": "--csv"}.get(command, "--out")
    told = f"altgrad: {option} {tmp_path}: is a directory; name a file, such as {option} {tmp_path / 'result'}\n"
    assert (said.code, said.out, said.err) == (2, "", told)
    assert not list(tmp_path.iterdir())
