"""What is published: links of the README, what the wheel holds, that it runs outside the checkout, and the public CI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture
def build_hook() -> ModuleType:
    spec = spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(readme: str) -> list[str]:
    return re.findall(r"\]\((?!https:)[^)]*\)", readme)


def test_every_link_of_the_readme_is_absolute_on_the_package_index(build_hook: ModuleType) -> None:
    assert len(relative(README)) > 20
    told = build_hook.with_absolute_links(README, "someone/altgrad", "abc")
    assert relative(told) == []
    assert "](https://raw.githubusercontent.com/someone/altgrad/abc/docs/results/factorial/gains.svg)" in told
    assert "](https://github.com/someone/altgrad/blob/abc/docs/gpu.md)" in told
    assert relative(build_hook.with_absolute_links(README, None, "main")) == []


def test_addresses_are_those_of_the_repository_that_builds(
    build_hook: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/altgrad")
    metadata: dict[str, Any] = {}
    build_hook.AddressesHook(str(ROOT), {}).update(metadata)
    assert metadata["urls"]["Source"] == "https://github.com/someone/altgrad"
    monkeypatch.delenv("GITHUB_REPOSITORY")
    elsewhere: dict[str, Any] = {}
    build_hook.AddressesHook(str(ROOT), {}).update(elsewhere)
    assert "urls" not in elsewhere and elsewhere["readme"]["content-type"] == "text/markdown"


def test_every_extra_that_the_readme_and_the_workflow_name_is_there() -> None:
    workflow = (ROOT / ".github/workflows/ci.yml").read_text()
    named = set(re.findall(r"altgrad\[(\w+)\]", README))
    named |= {extra for extras in re.findall(r'"\.\[([\w,]+)\]"', workflow) for extra in extras.split(",")}
    assert named - set(PROJECT["project"]["optional-dependencies"]) == set()


def test_the_workflow_tests_every_python_that_the_classifiers_name() -> None:
    yaml = pytest.importorskip("yaml")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert {"test", "other-systems", "docs", "package"} <= jobs.keys()
    named = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if re.search(r":: 3\.\d+$", line)}
    assert named <= set(jobs["test"]["strategy"]["matrix"]["python"])
    folders = re.findall(r"tests/\w+", (ROOT / ".github/workflows/ci.yml").read_text())
    assert folders and all((ROOT / folder).is_dir() for folder in folders)


@pytest.mark.slow
def test_the_wheel_is_whole_and_runs_outside_the_checkout(tmp_path: Path, tiny: Path) -> None:
    def call(*command: object, folder: Path = ROOT) -> str:
        clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=folder, env=clean, capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    (source,) = tmp_path.glob("*.tar.gz")
    call(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    held = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in held}
    plugins = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"altgrad_core", *plugins}
    ours = [path for folder in ("altgrad_core", "plugins") for path in (ROOT / folder).rglob("*") if path.is_file()]
    wanted = {
        str(path.relative_to(ROOT / "plugins" if path.is_relative_to(ROOT / "plugins") else ROOT))
        for path in ours
        if "__pycache__" not in path.parts
    }
    assert wanted - set(held) == set()
    assert "altgrad_core/py.typed" in held

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "base.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")  # the dependencies
    call(python, "-m", "pip", "install", "--no-deps", "--force-reinstall", wheel, folder=tmp_path)
    where = call(python, "-c", "import altgrad_core; print(altgrad_core.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(packages)
    call(tmp_path / "venv" / "bin" / "altgrad", "run", tiny, "--out", tmp_path / "run", folder=tmp_path)
    assert (tmp_path / "run" / "summary.json").exists()
