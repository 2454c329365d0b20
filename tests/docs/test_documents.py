"""What the documents show is executed: every Python block, every manifest, every command named in a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from altgrad_core import testing
from altgrad_core.cli.main import app
from altgrad_core.experiments.matrix.cells import Matrix
from altgrad_core.manifest.load import load_manifest
from altgrad_core.registry.kinds import KINDS
from altgrad_core.registry.registry import installed

ROOT = Path(__file__).parents[2]
CHECKS = {
    "format": testing.check_format,
    "optimizer": testing.check_optimizer,
    "monitor": testing.check_monitor,
    "intervention": testing.check_intervention,
}


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)


def offers(block: str) -> Iterator[tuple[str, Any]]:
    names: dict[str, Any] = {"__name__": "documented"}
    exec(compile(block, "documented", "exec", dont_inherit=True), names)
    for kind in KINDS.values():
        if kind.hook in names:
            yield from ((kind.name, item) for item in names[kind.hook]())


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_the_script_of_a_document_runs(document: str) -> None:
    (block,) = python_blocks(document)
    exec(compile(block, document, "exec", dont_inherit=True), {})


def test_the_loop_that_is_watched_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in python_blocks("docs/any-model.md") if "ag.watch(" in block]
    exec(compile(block, "any-model.md", "exec", dont_inherit=True), {})
    assert (tmp_path / "runs" / "mine" / "summary.json").exists()


@pytest.mark.usefixtures("cells_in_this_process")
def test_what_a_document_reads_of_a_study_is_there(
    altgrad: Callable[..., Any], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pandas")
    (block,) = re.findall(r"```py\n(.*?)```", (ROOT / "docs/python.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    manifest = tmp_path / "quickstart.toml"
    axis = '[matrix]\noptimizer = [{ use = "adamw", lr = 0.01 }, { use = "manifold-adamw" }]\n'
    manifest.write_text(tiny.read_text().replace('name = "tiny"\n', "") + axis)
    assert altgrad("run", manifest).code == 0
    exec(compile(block, "python.md", "exec", dont_inherit=True), {})
    assert (tmp_path / "effects.pdf").stat().st_size > 1000


@pytest.mark.parametrize("block", [b for b in python_blocks("CONTRIBUTING.md") if "@hookimpl" in b])
def test_every_plugin_of_the_guide_keeps_its_laws(block: str) -> None:
    offered = list(offers(block))
    assert offered
    for kind, item in offered:
        assert KINDS[kind].check(item)
        CHECKS[kind](item)


STUDIES = {
    "study.toml": 192,
    "options.toml": 204,
    "momentum.toml": 156,
    "confirmation.toml": 36,
    "factorial.toml": 90,
    "factorial-longer.toml": 64,
    "few-bits.toml": 48,
    "few-bits-confirmation.toml": 256,
    "fair-adamw.toml": 288,
    "fair-adamw-confirmation.toml": 48,
    "fair-controls.toml": 288,
    "fair-controls-confirmation.toml": 64,
    "post-training.toml": 36,
    "no-master.toml": 48,
    "claim-exponent-bits.toml": 104,
    "claim-gradient-noise.toml": 60,
    "claim-gradient-noise-again.toml": 54,
    "claim-norms.toml": 48,
    "claim-rate-sensitivity.toml": 144,
    "claim-update-precision.toml": 75,
    "gain-by-steps.toml": 60,
    "gain-by-width.toml": 24,
    "gain-by-steps-wide.toml": 12,
    "gain-by-steps-wide-unquantized.toml": 12,
    "fair-rates.toml": 30,
    "fair-warmup.toml": 36,
    "fair-line-initial.toml": 5,
    "fair-line-initial-rms.toml": 14,
    "fair-relative-initial.toml": 8,
    "fair-relative-initial-higher.toml": 5,
    "claim-exponent-bits-again.toml": 104,
    "claim-update-precision-again.toml": 75,
    "few-bits-controls.toml": 12,
    "few-bits-floor.toml": 4,
}  # cells to begin with
ELSEWHERE = {"eurlex.toml", *STUDIES}  # one needs data, which tests/examples makes; the others take long
MANIFESTS = [path for path in sorted(ROOT.glob("examples/*.toml")) if path.name not in ELSEWHERE]


@pytest.mark.usefixtures("cells_in_this_process")
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
def test_every_example_manifest_trains(altgrad: Callable[..., Any], manifest: Path, tmp_path: Path) -> None:
    settings = ["--steps", "2", "--set", "run.evaluate_batches=1", "--set", "data.batch_size=2"]
    assert altgrad("run", manifest, "--out", tmp_path / "run", *settings).code == 0


@pytest.mark.parametrize("name", STUDIES)
def test_the_cells_of_a_study_are_sound(name: str) -> None:
    assert len(Matrix(load_manifest(ROOT / "examples" / name), installed(), most=1000).cells({})) == STUDIES[name]


@pytest.mark.usefixtures("cells_in_this_process")
def test_a_corner_of_the_study_trains(altgrad: Callable[..., Any], tmp_path: Path) -> None:
    corner = {"recipe.0.weight.format": ["e7m0"], "run.seed": [1], "include": [], "search": {"factors": [1.0]}}
    settings = [f"matrix.{key}={json.dumps(value).replace(':', ' =')}" for key, value in corner.items()]
    shorter = ["run.evaluate_batches=1", "data.batch_size=2", "matrix.search.key='optimizer.group[0].lr'"]
    words = [word for setting in [*settings, *shorter] for word in ("--set", setting)]
    told = altgrad("run", ROOT / "examples/study.toml", "--out", tmp_path / "out", "--steps", "2", "--json", *words)
    assert (told.code, json.loads(told.out)["ended"]) == (0, {"finished": 3}), told.err


def test_the_page_of_commands_names_every_command() -> None:
    commands = {command.name for command in app.registered_commands}
    assert set(re.findall(r"^\| `altgrad ([a-z-]+)", (ROOT / "docs/commands.md").read_text(), flags=re.M)) == commands


def test_the_guide_names_every_hook() -> None:
    named = re.findall(r"^\| `(altgrad_[a-z]+)`", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.MULTILINE)
    assert named == [
        KINDS[kind].hook
        for kind in (
            "format",
            "optimizer",
            "monitor",
            "intervention",
            "model",
            "layer",
            "dataset",
            "tracker",
            "executor",
        )
    ]


DOCUMENTS = sorted(path for path in ROOT.glob("**/*.md") if not {"runs", "node_modules"} & set(path.parts))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if not link.startswith(("http:", "https:", "data:"))]
    assert [link for link in local if not (document.parent / link).exists()] == []
