"""A run that is resumed in another environment says what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.running.test_directory import contents

if TYPE_CHECKING:
    from tests.conftest import Said
    from tests.running.conftest import Runs


def test_another_environment_is_named_and_refused_if_asked(
    runs: Runs, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs.folder / "run"
    runs.begin(at=5)
    environment = json.loads((run / "env.json").read_text())
    torch_here = environment["versions"]["torch"]
    environment["threads"] = 96
    environment["versions"]["torch"] = "2.0"
    environment["plugins"]["gone"] = "gone 1.0"
    (run / "env.json").write_text(json.dumps(environment))
    changes = [
        "plugins gone was gone 1.0 and is absent",
        "threads was 96 and is 1",
        f"versions torch was 2.0 and is {torch_here}",
    ]
    before = contents(run)
    strict = altgrad("resume", run, "--strict")
    assert (strict.code, strict.err) == (
        1,
        f"altgrad: {run}: --strict, and the environment differs: {'; '.join(changes)}\n",
    )
    assert contents(run) == before
    said = altgrad("resume", run)
    warned = re.findall(r"^warning: (.*)$", said.err, re.MULTILINE)
    assert (said.code, warned) == (
        0,
        [f"{change}; the result may differ from an uninterrupted run's" for change in changes],
    )


def test_the_same_environment_is_no_reason_to_warn(runs: Runs, altgrad: Callable[..., Said]) -> None:
    runs.begin(at=5)
    said = altgrad("resume", runs.folder / "run", "--strict")
    assert said.code == 0
    assert "warning" not in said.err
