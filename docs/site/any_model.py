"""Writes the tables of any-model.md from any-model.toml, after all of their tests have passed here.

    python docs/site/any_model.py

The page also gets the versions of the libraries that the tests ran with.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE, ROWS = HERE.parent / "any-model.md", HERE / "any-model.toml"
HEADS = {"Layers": ("layer", "what is quantized"), "Habits of training scripts": ("situation", "behaviour")}
LIBRARIES = ("torch", "transformers", "accelerate", "lightning", "peft")


def rows() -> list[dict[str, Any]]:
    """Every row: its table, what it is about, how it behaves, and its tests."""
    found: list[dict[str, Any]] = tomllib.loads(ROWS.read_text())["row"]
    return found


def tests() -> list[str]:
    """The tests of all rows, each once, as pytest takes them."""
    return [f"tests/{test}" for test in dict.fromkeys(test for row in rows() for test in row["tests"])]


def page(text: str) -> str:
    """The page with its tables and versions written anew."""
    for heading, head in HEADS.items():
        lines = [f"| {head[0]} | {head[1]} | test |", "|---|---|---|", *map(_line, _of(heading))]
        before, mark, after = text.partition(f"\n## {heading}\n\n")
        rest = after[after.index("\n\n") :]
        text = before + mark + "\n".join(lines) + rest
    told = ", ".join(f"{name} {'.'.join(version(name).split('.')[:2])}" for name in LIBRARIES)
    return re.sub(r"(?<=those of the test run: )[^\n]*", f"{told}.", text, count=1)


def _of(heading: str) -> list[dict[str, Any]]:
    return [row for row in rows() if row["table"] == heading]


def _line(row: dict[str, Any]) -> str:
    named = ", ".join(f"`{test}`" for test in row["tests"])
    return f"| {row['what']} | {row['behaviour']} | {named} |"


def main() -> int:
    """Run the tests; write the page only if all of them passed and none was skipped."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-rs", *tests()],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout[-2000:], done.stderr[-2000:], sep="")
    if done.returncode != 0 or " skipped" in done.stdout:
        print("any-model.md is left as it is: a test failed or was skipped")
        return 1
    PAGE.write_text(page(PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
