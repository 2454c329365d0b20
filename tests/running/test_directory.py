"""One run in one directory: who may begin there, who may go on, and what --overwrite deletes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.errors import ManifestError
from altgrad_core.records.directory import RunDirectory
from tests.patience import ends_soon

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.forks import Fork
    from tests.running.conftest import Runs


def test_a_directory_in_use_is_refused_at_once(
    runs: Runs, fork: Callable[..., Fork], altgrad: Callable[..., Said]
) -> None:
    manifest, run = runs.manifest(("steps = 20", "steps = 100000")), runs.folder / "run"
    first = fork("run", manifest, "--out", run)
    first.wait_for("step 1/")
    for command in (("run", manifest, "--out", run), ("run", manifest, "--out", run, "--overwrite"), ("resume", run)):
        with ends_soon():
            said = altgrad(*command)
        assert (said.code, said.err) == (
            1,
            f"altgrad: {run}: another process is writing to this run directory; wait for it to end\n",
        )


RACE = """
import sys
from pathlib import Path
from altgrad_core.errors import RunError
from altgrad_core.records.directory import RunDirectory
for race in range(20):
    sys.stdin.readline()
    try:
        with RunDirectory(Path(sys.argv[1], str(race))):
            print("won", flush=True)
            sys.stdin.readline()
    except RunError:
        print("lost", flush=True)
        sys.stdin.readline()
"""


def test_of_two_processes_that_race_for_a_directory_one_wins(tmp_path: Path) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    results = []
    for _ in range(20):
        for racer in racers:
            print(file=racer.stdin, flush=True)
        results.append(sorted(racer.stdout.readline().strip() for racer in racers))  # type: ignore[union-attr]
        for racer in racers:
            print(file=racer.stdin, flush=True)
    for racer in racers:
        racer.communicate()
    assert results == [["lost", "won"]] * 20


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    program = (
        f"import os; from filelock import FileLock; FileLock({str(tmp_path / 'run.lock')!r}).acquire(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    with RunDirectory(tmp_path):
        pass


def test_run_where_an_unfinished_run_is_ends_with_2_and_says_how_to_continue(
    runs: Runs, altgrad: Callable[..., Said]
) -> None:
    runs.begin(at=5)
    before = contents(runs.folder / "run")
    said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert (said.code, said.err) == (
        2,
        f"altgrad: {runs.folder}/run: an unfinished run is here; continue it with: altgrad resume {runs.folder}/run\n"
        "or choose another directory with --out, or pass --overwrite to delete it and start again\n",
    )
    assert contents(runs.folder / "run") == before


def test_run_where_only_records_or_checkpoints_are_left_is_refused(runs: Runs) -> None:
    runs.begin(at=5)
    (runs.folder / "run" / "resolved.toml").unlink()
    with pytest.raises(ManifestError, match="an unfinished run is here"):
        runs.begin()


def test_a_finished_run_of_the_same_manifest_shows_its_summary(runs: Runs, altgrad: Callable[..., Said]) -> None:
    run = runs.folder / "run"
    first = altgrad("run", runs.manifest(), "--out", run)
    before = contents(run)
    for command in (("run", runs.manifest(), "--out", run), ("resume", run)):
        said = altgrad(*command)
        assert (said.code, said.err) == (0, "")
        assert said.out == first.out.replace("short: finished", "short: already finished")
    assert contents(run) == before


def test_a_finished_run_of_another_manifest_ends_with_2(runs: Runs, altgrad: Callable[..., Said]) -> None:
    run = runs.folder / "run"
    runs.begin()
    said = altgrad("run", runs.manifest(), "--out", run, "--set", "run.seed=12")
    assert (said.code, said.err) == (
        2,
        f"altgrad: {run}: a finished run of another manifest is here; look at {run}/summary.json, "
        "choose another directory with --out, or pass --overwrite to delete it and start again\n",
    )


def test_overwrite_deletes_the_run_and_nothing_else(runs: Runs) -> None:
    run = runs.folder / "run"
    runs.begin("run", "run.seed=12", at=7)
    (run / "records.jsonl.tail-5").write_text("a tail")
    (run / "failure.md").write_text("failed")
    strangers = ["notes.txt", "records.jsonl.mine", "clock.jsonl.mine", "checkpoints/notes.txt", "plots/loss.png"]
    for name in strangers:
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("mine")
    runs.begin(overwrite=True)
    runs.begin("whole")
    ours = {path for path in contents(run) if path not in strangers}
    assert ours == set(contents(runs.folder / "whole"))
    assert all((run / name).read_text() == "mine" for name in strangers)
    assert runs.result() == runs.result("whole")


@pytest.mark.parametrize(
    "name", ["records.jsonl", "resolved.toml", "checkpoints", "checkpoints/step-6", "run.lock", "records.jsonl.tail-9"]
)
def test_nothing_of_a_run_is_written_or_deleted_through_a_link(
    runs: Runs, altgrad: Callable[..., Said], name: str
) -> None:
    run = runs.folder / "run"
    runs.begin("run", "run.seed=12", at=7)
    (run / name).rename(runs.folder / "elsewhere") if (run / name).exists() else (runs.folder / "elsewhere").touch()
    (run / name).symlink_to(runs.folder / "elsewhere")
    before = contents(runs.folder)
    for command in (("run", runs.manifest(), "--out", run, "--overwrite"), ("resume", run)):
        said = altgrad(*command)
        assert (said.code, said.err) == (
            1,
            f"altgrad: {run}/{name}: is a symbolic link to {runs.folder}/elsewhere, and nothing is written through a "
            "link; put what it points at in its place, or remove it\n",
        )
    assert contents(runs.folder) == before


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
@pytest.mark.parametrize("matrix", ["", "[matrix]\nrun.seed = [1, 2]\n"])
def test_the_link_to_the_newest_run_is_no_place_to_begin_one(
    runs: Runs, altgrad: Callable[..., Said], options: tuple[str, ...], matrix: str
) -> None:
    runs.begin("runs/one")
    before = contents(runs.folder / "runs")
    runs.text += matrix
    latest = runs.folder / "runs" / "latest"
    said = altgrad("run", runs.manifest(("seed = 11", "")), "--out", latest, *options)
    assert (said.code, said.err) == (
        2,
        f"altgrad: {latest}: is a symbolic link to one, and nothing is written through a link; "
        "name another directory with --out\n",
    )
    assert (latest.readlink(), contents(runs.folder / "runs")) == (Path("one"), before)


def test_a_run_is_resumed_by_the_link_in_its_own_directory(runs: Runs, altgrad: Callable[..., Said]) -> None:
    runs.begin("runs/one", at=5)
    said = altgrad("resume", runs.folder / "runs" / "latest")
    assert said.code == 0
    assert f"records and checkpoints: {runs.folder}/runs/one" in said.out


def test_no_run_is_called_as_the_link_is(
    runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs.folder)
    runs.begin("runs/one")
    said = altgrad("run", runs.manifest(), "--set", "run.name=latest", "--overwrite")
    latest = '"latest" is the name of the link to the newest run'
    assert (said.code, said.err) == (2, f"altgrad: --set: run.name: {latest}; choose another name\n")
    Path("latest.toml").write_text(runs.manifest().read_text().replace('name = "short"', ""))
    said = altgrad("run", "latest.toml", "--overwrite")
    told = f"run.name: {latest}; name the run in the manifest, or its directory with --out"
    assert (said.code, said.err) == (2, f"altgrad: {told}\n")
    assert (runs.folder / "runs" / "one" / "summary.json").exists()


@pytest.fixture(scope="module")
def old_and_whole(shared_runs: Runs) -> Runs:
    """A run of another seed, in `old`, that was interrupted and has lost its summary; and the one that replaces it, in `whole`."""
    shared_runs.begin("old", "run.seed=12", at=7)
    (shared_runs.folder / "old" / "summary.json").write_text("{}")
    shared_runs.begin("whole")
    return shared_runs


@pytest.mark.parametrize("steps", range(1, 9))
def test_killed_while_it_overwrites_nothing_of_the_old_run_gets_into_the_new_one(
    steps: int, old_and_whole: Runs, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(old_and_whole.folder / "old", runs.folder / "run")
    left = [steps]

    def counted(honest: object) -> Callable[..., None]:
        def delete(*arguments: object, **options: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            honest(*arguments, **options)  # type: ignore[operator]

        return delete

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr("shutil.rmtree", counted(shutil.rmtree))
        with pytest.raises(KeyboardInterrupt):
            runs.begin(overwrite=True)
    with pytest.raises(ManifestError, match="an unfinished run is here"):
        runs.begin()
    runs.begin(overwrite=True)
    assert runs.result() == old_and_whole.result("whole")


def test_a_manifest_that_cannot_be_assembled_deletes_nothing(runs: Runs) -> None:
    runs.begin()
    before = contents(runs.folder / "run")
    runs.text = runs.text.replace('layers = "blocks.*"', 'layers = "blocs.*"')
    with pytest.raises(ManifestError, match='no layer matches "blocs'):
        runs.begin(overwrite=True)
    assert contents(runs.folder / "run") == before


def test_resume_of_nothing_ends_with_2(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        said = altgrad("resume", place)
        assert (said.code, said.err) == (
            2,
            f"altgrad: {place}: no run has been started here; start one with: altgrad run MANIFEST\n",
        )
    assert list(tmp_path.iterdir()) == []


def test_latest_points_at_the_newest_run_and_replaces_nothing_else(runs: Runs) -> None:
    runs.begin("runs/one", at=1)
    runs.begin("runs/two", at=1)
    latest = runs.folder / "runs" / "latest"
    assert latest.readlink() == Path("two")
    latest.unlink()
    latest.mkdir()
    runs.begin("runs/three", at=1)
    assert not latest.is_symlink()


def test_no_link_is_made_outside_the_folder_of_runs(runs: Runs) -> None:
    runs.begin("elsewhere", at=1)
    assert not (runs.folder / "latest").exists()


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}
