"""Input that would crash or hold up a program: each gets one message, in little time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.patience import ends_soon

if TYPE_CHECKING:
    from tests.conftest import Said

LAUGHS = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" if n else "x0: &x0 [lol]" for n in range(10))
MERGES = "\n".join(f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}]}}" if n else "m0: &m0 {a: 1}" for n in range(40))
HOSTILE = {
    "an alias of itself.yaml": ("run: &a\n  b: *a\n", "nested too deeply, or it holds itself"),
    "a billion laughs.yaml": (LAUGHS, "holds more than 100,000 values, those of its aliases counted each time"),
    "merges of merges.yaml": (MERGES, "its merges (<<) hold more than 100,000 values"),
    "deep.toml": (".".join("a" * 3000) + " = 1", "nested too deeply, or it holds itself"),
    "deep.json": ("[" * 900 + "]" * 900, "nested too deeply, or it holds itself"),
    "spaces.toml": (f'[run]\nname = "{"a" * 9}"\nx = """\na{" " * 400_000}b"""\n', "model: missing"),
    "many keys.toml": ("\n".join(f"k{n} = 1" for n in range(60_000)), "and 59,984 more"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused_with_one_message_in_little_time(
    tmp_path: Path, altgrad: Callable[..., Said], name: str
) -> None:
    text, said = HOSTILE[name]
    (tmp_path / name).write_text(text)
    with ends_soon():
        told = altgrad("check", tmp_path / name)
    assert (told.code, said in told.err, len(told.err.splitlines()) <= 21) == (2, True, True), told.err[-500:]
    assert str(tmp_path / name) in told.err


def test_files_that_hold_themselves_do_not_extend_each_other(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    (tmp_path / "a.yaml").write_text("run: &a\n  b: *a\nextends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("run: &a\n  b: *a\n")
    told = altgrad("check", tmp_path / "a.yaml")
    assert (told.code, told.err) == (2, f"altgrad: {tmp_path}/a.yaml: nested too deeply, or it holds itself\n")


@pytest.mark.parametrize(
    ("axis", "said"),
    [
        ("run = ['e5m2']", '{path}:{line}: matrix.run[0]: "e5m2" would replace the table [run]; give tables, or name a key of it, '
         "such as run.KEY"),
        ("'recipe[0].weight' = [3]", "{path}:{line}: matrix.recipe[0].weight[0]: 3 would replace the table [recipe[0].weight]; give "
         "tables, or name a key of it, such as recipe[0].weight.KEY"),
    ],
)  # fmt: skip
def test_an_axis_does_not_replace_a_table_by_what_is_none(
    tiny: Path, altgrad: Callable[..., Said], axis: str, said: str
) -> None:
    tiny.write_text(tiny.read_text() + f"\n[matrix]\n{axis}\n")
    line = tiny.read_text().splitlines().index(axis) + 1
    told = altgrad("check", tiny)
    assert (told.code, told.err) == (2, f"altgrad: {said.format(path=tiny, line=line)}\n")


def test_a_run_that_is_no_table_is_refused_in_a_study_too(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    (tmp_path / "m.toml").write_text("run = 3\n[matrix]\noptimizer.lr = [1.0]\n")
    told = altgrad("check", tmp_path / "m.toml")
    assert told.code == 2
    assert "run: expected a table ({ ... }, or [run]), got 3" in told.err
