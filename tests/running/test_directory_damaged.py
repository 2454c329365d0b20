"""Damaged files of a run directory are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from altgrad_core.errors import RunError

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs


def test_a_file_in_place_of_the_directory_ends_with_1(runs: Runs, altgrad: Callable[..., Said]) -> None:
    (runs.folder / "run").write_text("a file")
    said = altgrad("run", runs.manifest(), "--out", runs.folder / "run")
    assert (said.code, said.err) == (
        1,
        f"altgrad: {runs.folder}/run: is not a directory; choose another place with --out\n",
    )


@pytest.mark.parametrize("name", ["env.json", "summary.json"])
def test_a_damaged_file_is_named(name: str, runs: Runs) -> None:
    runs.begin(at=5)
    (runs.folder / "run" / name).write_text('{"half')
    with pytest.raises(RunError) as caught:
        runs.resume()
    assert (
        str(caught.value)
        == f"{runs.folder}/run/{name}: is damaged: expected a JSON object; put the file back, or remove it to continue without it"
    )


def test_a_damaged_summary_is_named(runs: Runs) -> None:
    runs.begin()
    summary = runs.folder / "run" / "summary.json"
    summary.write_text('{"status": "finished"}')
    with pytest.raises(RunError) as caught:
        runs.resume()
    assert str(caught.value).startswith(f"{summary}: is damaged: it lacks best_validation_loss, data, formats")


def test_a_torn_line_of_the_clock_does_not_spoil_the_next(runs: Runs) -> None:
    runs.begin(at=5)
    with (runs.folder / "run" / "clock.jsonl").open("ab") as file:
        file.write(b'{"kind":"clo')
    runs.resume()
    assert [record["kind"] for record in runs.clock()].count("resumed") == 1
