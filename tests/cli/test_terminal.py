"""Nothing that a stranger wrote steers the terminal: it is shown as an escape."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.table import Table

from altgrad_core.cli.console import Console
from altgrad_core.text import cell

if TYPE_CHECKING:
    from tests.conftest import Said

EVIL = "\x1b]0;owned\x07\x1b[2J"
SHOWN = "\\x1b]0;owned\\x07\\x1b[2J"
QUOTED = EVIL.encode("unicode_escape").decode().replace("\\x", "\\u00")


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_message_about_a_manifest_shows_what_is_in_it_as_escapes(
    tiny: Path, altgrad: Callable[..., Said], command: str
) -> None:
    tiny.write_text(tiny.read_text().replace('use = "nanogpt"', f'use = "{QUOTED}"'))
    said = altgrad(command, tiny)
    assert said.code == 2 and "\x1b" not in said.err + said.out and "\x07" not in said.err
    assert f'model.use: no model "{SHOWN}"' in said.err


@pytest.mark.parametrize("options", [("--table",), (), ("--json",)])
def test_the_cells_of_a_study_are_shown_with_escapes(
    tiny: Path, altgrad: Callable[..., Said], options: tuple[str, ...]
) -> None:
    tiny.write_text(
        tiny.read_text() + f'[matrix.variant]\n"{QUOTED}" = {{ "run.seed" = 1 }}\nb = {{ "run.seed" = 2 }}\n'
    )
    said = altgrad("check", tiny, "--set", "run.steps=2", "--set", "run.evaluate_every=2", *options)
    assert said.code == 0 and "\x1b" not in said.out + said.err
    assert ("\\u001b]0;owned" if options == ("--json",) else "\\x1b]0;owned") in said.out


def test_the_colours_of_a_table_go_through_and_those_of_a_text_in_it_do_not() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=80)
    table = Table("[red]name[/]", box=None)
    table.add_row("\x1b[32mgreen\x9b2J")
    console.print(table)
    console.print("\x1b[1mbold", markup=False, highlight=False)
    assert "\x1b[1;31mname" in out.getvalue()
    assert "\\x1b[32mgreen\\x9b2J" in out.getvalue() and "\\x1b[1mbold" in out.getvalue()


@pytest.mark.parametrize(
    ("value", "written"),
    [("=1+2", "'=1+2"), ("+x", "'+x"), ("-x", "'-x"), ("@SUM", "'@SUM"), ("a=b", "a=b"), (-1.5, -1.5), (None, "")],
)
def test_no_cell_of_csv_is_a_formula(value: object, written: object) -> None:
    assert cell(value) == written


@pytest.mark.parametrize("command", [("diagnose",), ("track", "--to", "tensorboard")])
def test_a_warning_about_a_run_shows_its_name_as_escapes(
    unfinished: Path, altgrad: Callable[..., Said], command: tuple[str, ...]
) -> None:
    run = unfinished.rename(unfinished.parent / EVIL)
    (run / "records.jsonl").write_text("damaged\n" + (run / "records.jsonl").read_text())
    said = altgrad(command[0], run, *command[1:])
    assert said.err == f"warning: {unfinished.parent / SHOWN}: records.jsonl: 1 damaged line is left out (line 1)\n"
    assert "\x1b" not in said.out
