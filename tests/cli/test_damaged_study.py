"""Every file of a study, damaged in every way: each command ends, says where, and writes nothing through a link."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_damaged_files import WAYS, damaged, files_of
from tests.conftest import TINY, obey, trained_here
from tests.patience import ends_soon

if TYPE_CHECKING:
    from tests.conftest import Said


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two cells, one of them without its summary and last checkpoint, and its report."""
    folder = tmp_path_factory.mktemp("study")
    manifest = folder / "study.toml"
    manifest.write_text(TINY.replace("steps = 6", "steps = 4") + '[matrix]\n"run.seed" = [1, 2]\n')
    with trained_here():
        for command in (["run", manifest, "--out", folder / "study"], ["report", folder / "study"]):
            assert obey(*command).code == 0
    cell = min(path for path in (folder / "study").iterdir() if (path / "summary.json").exists())
    (cell / "summary.json").unlink()
    shutil.rmtree(cell / "checkpoints" / "step-4")
    return folder / "study"


def tried(
    study: Path,
    folder: Path,
    altgrad: Callable[..., Said],
    chance: random.Random,
    rounds: int,
    *,
    continue_every: int = 1,
) -> None:
    """Damage a file of the study, and run every command that reads it; the costly one in every so many rounds."""
    names = files_of(study)
    chance.shuffle(names)
    for number in range(rounds):
        copy, elsewhere = folder / f"study{number}", folder / f"elsewhere{number}"
        shutil.copytree(study, copy)
        elsewhere.write_text("of somebody else")
        name, way = names[number % len(names)], chance.choice(WAYS)
        damaged(copy / name, way, elsewhere, chance)
        manifest = copy / "manifest.toml" if name == "manifest.toml" else study.with_name("study.toml")
        commands: list[tuple[object, ...]] = [("report", copy), ("check", copy / "manifest.toml", "--table")]
        commands += [("run", manifest, "--out", copy)] if number % continue_every == 0 else []
        for command in commands:
            with ends_soon(f"{command[0]} with {name}: {way}"):
                said = altgrad(*command)
            case = f"{command[0]} with {name}: {way}: {said.err[-1500:]}"
            assert said.code in (0, 1, 2, 3) and "Traceback" not in said.err + said.out, case
            assert said.code == 0 or any(part in said.err for part in (str(copy), name, Path(name).parts[0])), case
            assert elsewhere.read_text() == "of somebody else", case
        shutil.rmtree(copy)


@pytest.mark.usefixtures("cells_in_this_process")
def test_every_file_of_a_study_may_be_damaged(
    study: Path, tmp_path: Path, altgrad: Callable[..., Said], record_property: Callable[[str, int], None]
) -> None:
    tried(study, tmp_path, altgrad, random.Random(1), 6, continue_every=6)
    record_property("tried", 6)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
def test_every_file_of_a_study_may_be_damaged_often(
    part: int, study: Path, tmp_path: Path, altgrad: Callable[..., Said], record_property: Callable[[str, int], None]
) -> None:
    tried(study, tmp_path, altgrad, random.Random(part + 2), 15, continue_every=3)
    record_property("tried", 15)
