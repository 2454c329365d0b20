"""A report of a finished study needs no plugin: what it was made of is recorded in its directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from altgrad_core.registry.registry import installed

if TYPE_CHECKING:
    from tests.conftest import Said

STRANGER = """
    from typing import ClassVar
    import altgrad_core
    from altgrad_core import Executor, ExecutorSpec, Format, Job, OptimizerSpec, hookimpl
    from pydantic import PositiveFloat

    class Fifteenths(Format):
        "Fifteen equal steps."
        name = "fifteenths"
        bits = 4

        def decode(self, code):
            return (code - 7) / 7 if code < 15 else float("nan")

    class Plain(OptimizerSpec):
        "Gradient descent with a push."
        name: ClassVar = "plain"
        lr: PositiveFloat = 0.1
        push: float = 0.5

        def build(self, groups, geometry):
            import torch
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.push)

    class Here(Executor, Job):
        capacity = 1
        cancel = kill = close = lambda self, *signal: None

        def submit(self, task, tell):
            tell(altgrad_core.train_cell(task, tell))
            return self

    class AtOnce(ExecutorSpec):
        "Trains a cell while it is submitted."
        name: ClassVar = "at-once"

        def build(self, jobs):
            return Here()

    @hookimpl
    def altgrad_executors():
        yield AtOnce

    @hookimpl
    def altgrad_formats():
        yield Fifteenths()

    @hookimpl
    def altgrad_optimizers():
        yield Plain
"""
MATRIX = """
[executor]
use = "at-once"

[matrix]
"recipe[0].weight.format" = ["fifteenths"]
optimizer = [{ use = "plain", push = 0.5 }, { use = "plain", push = 0.9 }]
"""


def test_a_report_is_the_same_bytes_where_the_plugins_of_the_study_are_not_installed(
    install: Callable[..., Path],
    altgrad: Callable[..., Said],
    site: Path,
    tiny: Path,
    tmp_path: Path,
) -> None:
    install("strange-plugin", STRANGER)
    manifest, study = tmp_path / "study.toml", tmp_path / "study"
    manifest.write_text(tiny.read_text().replace('name = "tiny"\n', "") + MATRIX)
    assert altgrad("run", manifest, "--out", study, "--steps", 2).code == 0
    for path in site.iterdir():
        path.rename(tmp_path / f"gone-{path.name}")
    installed.cache_clear()
    assert "plain" not in installed().names("optimizer")
    assert altgrad("report", study, "--out", tmp_path / "without").code == 0
    without = tmp_path / "without"
    files = [path.relative_to(without) for path in sorted(without.rglob("*")) if path.is_file()]
    assert {Path("report.html"), Path("figures/lines-01-fifteenths.svg")} <= set(files)
    differing = [path for path in files if (study / path).read_bytes() != (without / path).read_bytes()]
    assert differing == []
    assert "plain (push=0.9)" in (without / "report.md").read_text()


@pytest.fixture(autouse=True)
def fresh_registry() -> None:
    installed.cache_clear()
