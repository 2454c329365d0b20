"""A checkpoint is read with the manifest it was trained with, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Said

COMMANDS = {
    "resume": ("{run}",),
    "export": ("{run}", "--out", "{out}"),
    "evaluate": ("{run}", "--csv", "{out}"),
    "advise": ("{run}", "--bits", "6", "--out", "{out}"),
}


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
        f"altgrad: {resolved}: is not the manifest that the checkpoint of step 6 was trained with; put that one back, or "
        f"begin a run of its own from there: altgrad run {resolved} --from {unfinished}@6 --out ANOTHER_DIRECTORY\n",
    )
    assert not out.exists()
