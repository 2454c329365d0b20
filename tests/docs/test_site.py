"""The documentation site builds with warnings as errors, and its generated pages tell of everything that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import altgrad_core
from altgrad_core.cli.main import app
from altgrad_core.cli.schema import installed_schema
from altgrad_core.manifest.schema import Manifest
from altgrad_core.registry.kinds import KINDS
from altgrad_core.registry.registry import installed

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docs" / "site"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """What mkdocs calls, with all that makes a page."""
    pytest.importorskip("mkdocs")
    before = set(sys.modules)
    monkeypatch.syspath_prepend(SCRIPTS)
    yield import_module("site_hooks")
    for name in {path.stem for path in SCRIPTS.glob("*.py")} - before:
        sys.modules.pop(name, None)


def headings(page: str, level: int) -> set[str]:
    return set(re.findall(rf"^{'#' * level} (.+?)(?: {{.*)?$", page, flags=re.MULTILINE))


def test_the_pages_tell_of_every_command_hook_plugin_reading_and_name(site: ModuleType) -> None:
    pages = {name: make() for name, make in site.GENERATED.items()}
    commands = {f"altgrad {command.name}" for command in app.registered_commands}
    assert headings(pages["reference/commands.md"], 2) == commands
    assert headings(pages["reference/hooks.md"], 2) == {kind.hook for kind in KINDS.values()}
    ours = [entry for entry in installed() if entry.plugin.distribution == "altgrad"]
    assert headings(pages["reference/plugins.md"], 3) == {entry.name for entry in ours if entry.kind != "format"}
    assert all(f"\n| `{entry.name}` |" in pages["reference/plugins.md"] for entry in ours if entry.kind == "format")
    readings = {reading.name for entry in ours if entry.kind == "monitor" for reading in entry.item.declared()}
    assert set(re.findall(r"^\| `([\w-]+)`", pages["reference/readings.md"], flags=re.MULTILINE)) == readings
    assert "1 - (flips among updates) / updates" in pages["reference/readings.md"]
    named = set(re.findall(r"^::: altgrad_core\.[\w.]+\.(\w+)$", pages["reference/api.md"], flags=re.MULTILINE))
    assert named == set(altgrad_core.__all__) - {"__version__"}


def test_the_page_of_manifests_has_every_table_and_key(site: ModuleType) -> None:
    page = site.GENERATED["reference/manifest.md"]()
    tables = {title.strip("`[]") for title in headings(page, 2)}
    assert set(Manifest.model_fields) - tables == set()
    own = {name for name in installed_schema()["$defs"] if "." not in name}  # with a dot, the options of a plugin
    assert own == set(import_module("site_manifest").TABLES)
    assert [
        line for line in page.splitlines() if line.endswith("|  |") and "`use`" not in line
    ] == []  # all have a meaning
    run = page.partition("## `[run]`")[2].partition("\n## ")[0]
    assert "| `steps` | integer > 0 | required | how many steps" in run
    assert '| `device` | `"auto"` or `"cpu"` or `"cuda"` | `"auto"` |' in run


def test_links_lead_to_pages_or_to_the_repository(site: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    links = import_module("site_links").with_links_of_the_site
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    assert (
        links("[a](docs/data.md) [b](docs/results) [c](pyproject.toml)", "index.md")
        == "[a](data.md) [b](results/README.md) c"
    )
    assert (
        links("[a](../CONTRIBUTING.md#x)\n```\n[b](../no)\n```\n", "data.md")
        == "[a](contributing.md#x)\n```\n[b](../no)\n```\n"
    )
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/altgrad")
    monkeypatch.setenv("GITHUB_SHA", "abc")
    assert (
        links("[c](../pyproject.toml)", "data.md") == "[c](https://github.com/someone/altgrad/blob/abc/pyproject.toml)"
    )


def test_every_public_docstring_is_understood(site: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    import griffe

    package = griffe.load("altgrad_core", search_paths=[ROOT], allow_inspection=False)
    public = [package[f"{module}.{name}"] for module, name in import_module("site_api").public_names()]
    inner = [member for thing in public if thing.is_class for member in thing.members.values() if not member.is_alias]
    with caplog.at_level("WARNING"):
        for each in [*public, *inner]:
            if each.docstring is not None:
                each.docstring.parse("google")
    assert len(inner) > 100
    assert caplog.messages == []  # such as: parameter 'a, b' does not appear in the function signature


@pytest.mark.slow
def test_the_site_builds_with_warnings_as_errors(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert {"index.html", "statistics.html"} <= {path.name for path in tmp_path.iterdir()}
    assert "fonts.googleapis.com" not in (tmp_path / "index.html").read_text()
