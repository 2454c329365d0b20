"""Studies with damage, strangers or files of newer versions are read as far as they go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core import ManifestError, __version__
from altgrad_core.experiments.study.labels import UNKNOWN
from altgrad_core.experiments.study.study import Study


def test_without_any_manifest_a_cell_is_unknown(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(status="missing")])
    plan = json.loads((directory / "cells.json").read_text())
    del plan["cells"][0]["manifest"]
    (directory / "cells.json").write_text(json.dumps(plan))
    found = Study.read(directory)
    assert (found.results[0].format, found.baseline) == (UNKNOWN, None)


def test_a_directory_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        Study.read(tmp_path / "nothing")
    assert str(caught.value) == (
        f"{tmp_path}/nothing: is neither a study nor a run: it has no cells.json and no records.jsonl, nor has any folder "
        "in it; a study is what altgrad run MANIFEST leaves in its directory"
    )


def test_a_newer_layout_is_refused(write: Callable[..., Path], made: Any) -> None:
    directory = write([made()], schema=2, version="9.1.0")
    with pytest.raises(ManifestError) as caught:
        Study.read(directory)
    assert str(caught.value) == (
        f"{directory}/cells.json: was written by a newer version of AltGrad (9.1.0, schema 2; this one reads schema 1); "
        "update AltGrad to read it"
    )


def test_a_run_of_a_newer_version_is_told(write: Callable[..., Path], made: Any) -> None:
    directory = write([made()])
    path = directory / made().name / "env.json"
    path.write_text(path.read_text().replace(f'"altgrad": "{__version__}"', '"altgrad": "99.0.0"'))
    assert Study.read(directory).problems == (
        f"{made().name}: a run made by a newer version of AltGrad (99.0.0; this is {__version__}); "
        "what it records may be read wrongly",
    )


def test_damage_is_told_and_the_rest_is_read(write: Callable[..., Path], made: Any) -> None:
    cells = [made(seed=seed) for seed in range(1, 6)]
    directory = write(cells)
    places = [directory / cell.name for cell in cells]
    with (places[0] / "records.jsonl").open("a") as file:
        file.write('not json\n[1]\n{"kind": "step"}\n{"kind": "st')
    (places[1] / "summary.json").write_text('{"status": ')
    (places[2] / "resolved.toml").write_text("= =")
    (places[3] / "env.json").write_bytes(b"\xff\xfe")
    (places[4] / "records.jsonl").unlink()
    found = Study.read(directory)
    assert found.problems == (
        f"{cells[0].name}: records.jsonl: 3 damaged lines are left out (the first is line 9); it ends within a line, "
        "which is left out",
        f"{places[1]}/summary.json: cannot be read; the run counts as unfinished",
        f"{places[2]}/resolved.toml: cannot be read, so its settings are known only from cells.json",
        f"{places[3]}/env.json: cannot be read; where it ran is not known",
        f"{cells[4].name}: has no records.jsonl; only its summary is used",
    )
    assert [r.status for r in found.results] == ["finished", "unfinished", "finished", "finished", "finished"]
    assert [(r.format, r.seed) for r in found.results] == [("e4m3", seed) for seed in range(1, 6)]
    assert len(list(found.results[0].records())) == 8  # with the losses of the validation blocks


def test_a_run_that_finished_with_nan_counts_as_diverged(write: Callable[..., Path], made: Any) -> None:
    directory = write([made()])
    path = directory / made().name / "summary.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "validation_loss": "NaN"}))
    found = Study.read(directory)
    assert (found.results[0].status, found.results[0].validation_loss) == ("diverged", None)
    assert found.problems == (f"{made().name}: ended with a loss that is not finite; it counts as diverged",)


def test_entries_that_are_no_cells_are_told(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(), made(seed=2)])
    plan = json.loads((directory / "cells.json").read_text())
    plan["cells"] = [plan["cells"][0], 7, {"name": "../elsewhere"}, {"name": 3}]
    (directory / "cells.json").write_text(json.dumps(plan))
    found = Study.read(directory)
    assert len(found.results) == 1
    assert found.problems == (
        f"{directory}/cells.json: has entries that are not cells; they are left out",
        f"{directory}: has 1 more folder with runs that is not in cells.json and is left out: {made(seed=2).name}",
    )


def test_damaged_cells_json_leaves_the_folders(write: Callable[..., Path], made: Any) -> None:
    directory = write([made(), made(seed=2)])
    (directory / "cells.json").write_text("{")
    found = Study.read(directory)
    assert [result.seed for result in found.results] == [1, 2]
    assert found.problems == (f"{directory}/cells.json: cannot be read; the cells are those whose folders are there",)
