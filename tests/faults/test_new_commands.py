"""Names and files that are strange, for the commands that evaluate, export and write something new."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.forks import files_in

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.forks import Fork

FEW = ("--batches", "1", "--calibrate", "1")
RECIPE = '[[recipe]]\nlayers = "blocks.*"\nweight = { format = "e4m3" }\n'


@pytest.mark.parametrize("stem", ["[ b]", "[red]x", "=cmd|x", "a\x1b]0;x\x07", "-x"])
def test_a_recipe_may_have_any_name(stem: str, finished: Path, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    recipe, table = tmp_path / f"{stem}.toml", tmp_path / "table.csv"
    recipe.write_text(RECIPE)
    said = altgrad("evaluate", finished, "--recipe", recipe, *FEW, "--layers", "--csv", table)
    assert (said.code, said.err) == (0, "")
    assert stem.replace("\x1b", "\\x1b").replace("\x07", "") in said.out and "\x1b" not in said.out
    names = [row["recipe"] for row in csv.DictReader(table.open(newline=""))][1:]
    assert set(names) == {f"'{stem}" if stem[0] in "=-" else stem}


def test_files_that_name_a_directory_which_is_no_utf8_are_written(
    finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    folder = tmp_path / "a\udcff"
    folder.mkdir()
    (folder / "recipe.toml").write_text(RECIPE)
    for command in (
        ("init", folder / "b.toml"),
        ("evaluate", finished, *FEW, "--csv", folder / "b.csv", "--recipe", folder / "recipe.toml"),
        ("advise", finished, *FEW, "--bits", "8", "--format", "e4m3", "--out", folder / "c\udcff.toml"),
    ):
        said = altgrad(*command)
        assert said.code == 0, said.err
    assert "\\udcff" in (folder / "b.toml").read_text()


@pytest.mark.parametrize("setting", ["run.name=\udcff", "data.vocabulary=\udcff"])
def test_a_setting_that_is_no_utf8_is_refused(setting: str, tiny: Path, altgrad: Callable[..., Said]) -> None:
    said = altgrad("check", tiny, "--set", setting)
    assert said.code == 2
    assert "a text is not Unicode: it has half a surrogate pair, or a byte that is not UTF-8" in said.err


def test_recipes_of_one_name_are_told_apart_by_paths_that_are_no_markup(
    finished: Path, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    recipes = [tmp_path / folder / "b].toml" for folder in ("a[", "other")]
    for recipe in recipes:
        recipe.parent.mkdir()
        recipe.write_text(RECIPE)
    said = altgrad("evaluate", finished, "--recipe", recipes[0], "--recipe", recipes[1], *FEW)
    assert (said.code, said.err) == (0, "")
    assert "a[/b].toml" in said.out.replace("\n", "")


@pytest.mark.parametrize("there", ["a file", "a directory", "a link to nothing", "a link to a directory"])
def test_a_plugin_is_not_written_over_anything(there: str, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    if there == "a file":
        place.write_text("mine")
    elif there == "a directory":
        place.mkdir()
    else:
        place.symlink_to(other)
    if there == "a link to a directory":
        other.mkdir()
    before = sorted(tmp_path.rglob("*"))
    said = altgrad("new-plugin", "format", "my-format", "--out", place)
    told = f"altgrad: {place}: exists already; choose another directory with --out, or remove it\n"
    assert (said.code, said.err) == (2, told)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plugin_that_does_not_fit_leaves_nothing_behind(tmp_path: Path, fork: Callable[..., Fork]) -> None:
    import resource

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (350, 350))

    one = fork("new-plugin", "format", "my-format", "--out", tmp_path / "place", before=limited)
    told = f"altgrad: {tmp_path / 'place'}: cannot be written: File too large; choose another place with --out\n"
    assert (one.end(), one.err) == (1, told)
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("command", ["export", "evaluate", "init", "schema"])
def test_a_pipe_that_nobody_reads_holds_no_command_up(
    command: str, finished: Path, tmp_path: Path, fork: Callable[..., Fork]
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = {
        "export": ("export", finished, "--out", pipe),
        "evaluate": ("evaluate", finished, *FEW, "--csv", pipe),
        "init": ("init", pipe),
        "schema": ("schema", "--out", pipe),
    }[command]
    before = files_in(finished)
    one = fork(*words)
    assert one.end(kill_after=20) >= 0, one.text()
    assert "Traceback" not in one.text()
    assert files_in(finished) == before
