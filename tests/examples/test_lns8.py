"""The example of a third party: installed as a package of its own, listed, trained with, and tested by its own test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.registry.registry import installed

PACKAGE = Path(__file__).parents[2] / "examples" / "altgrad-lns8"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Python of a fresh environment that sees the packages of this one, and the example installed by pip."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    executable = folder / "bin" / "python"
    scheme = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", vars=scheme))
    (own / "these.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ALTGRAD_LOAD_PLUGINS")}
        command = [str(executable), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=folder, timeout=300
        )

    target = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    done = run("-m", "pip", "install", *target, PACKAGE)
    assert done.returncode == 0, done.stderr
    return run


def test_it_is_installed_apart_from_this_environment(python: Run) -> None:
    code = "import altgrad_lns8, importlib.util; print(altgrad_lns8.__file__, importlib.util.find_spec('torch').origin)"
    where = python("-c", code).stdout.split()
    assert not where[0].startswith((sys.prefix, str(PACKAGE)))
    assert Path(where[1]).is_relative_to(sysconfig.get_path("purelib"))


def test_it_is_listed(python: Run) -> None:
    done = python("-m", "altgrad_core.cli.main", "list-plugins", "--kind", "format", "--json")
    (row,) = [row for row in json.loads(done.stdout) if row["distribution"] == "altgrad-lns8"]
    assert row == {
        "kind": "format",
        "name": "lns8",
        "plugin": "lns8",
        "distribution": "altgrad-lns8",
        "version": "0.1.0",
        "status": "ok",
        "summary": "Sign and a 7-bit power of 2 ** (1 / 8), from 2 ** -7.875 to 2 ** 7.875; power 0 is zero.",
    }


def test_a_model_trains_in_it(python: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = python("-m", "altgrad_core.cli.main", "run", PACKAGE / "lns8.toml", "--steps", 8, "--out", out)
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert [facts["name"] for facts in summary["formats"]] == ["lns8"]
    assert summary["status"] == "finished"
    assert summary["loss"] < 4.3  # ln 64 is 4.16
    plugins = json.loads((out / "env.json").read_text())["plugins"]
    assert plugins["lns8"] == "altgrad-lns8 0.1.0"


def test_its_own_tests_pass(python: Run, tmp_path: Path) -> None:
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", PACKAGE / "tests")
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


def test_without_it_the_manifest_says_what_is_missing(altgrad: Callable[..., Any], tmp_path: Path) -> None:
    manifest = PACKAGE / "lns8.toml"
    said = altgrad("run", manifest, "--out", tmp_path / "run")
    (line,) = [n for n, text in enumerate(manifest.read_text().splitlines(), 1) if text.startswith("weight = ")]
    names = ", ".join(installed().names("format"))
    assert said.code == 2
    assert said.err == f'altgrad: {manifest}:{line}: recipe[0].weight.format: no format "lns8"; there is {names}\n'
