"""What executors on other machines have in common, without a cluster: versions, directories, and refusals."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from altgrad_executors.host import Host
from altgrad_executors.installation import differences, installation

from tests.experiments.commands import written

if TYPE_CHECKING:
    from tests.conftest import Said


def task(folder: Path) -> dict[str, Any]:
    """A cell whose model does not exist."""
    return {
        "settings": [],
        "manifest": str(folder / "study.toml"),
        "data": {"run": {"steps": 1}},
        "directory": str(folder / "study" / "cell"),
        "overwrite": False,
        "checkpoints": "last",
    }


def test_an_installation_names_every_plugin_and_its_version() -> None:
    assert installation()["altgrad"] == version("altgrad")
    assert installation()["plugin executors"] == f"altgrad {version('altgrad')}"


def test_differences_name_versions_and_ignore_plugins_that_are_only_there() -> None:
    here = {"altgrad": "0.2.0", "torch": "2.13.0", "plugin halves": "halves 1.0"}
    there = {"altgrad": "0.1.0", "torch": "2.13.0", "plugin more": "more 1.0"}
    assert differences(here, there) == [
        "altgrad is 0.1.0 there and 0.2.0 here",
        "plugin halves is absent there and halves 1.0 here",
    ]
    with_package = {"altgrad": "0.2.0", "plugin grid": "altgrad 0.2.0", "plugin halves": "halves 1.0"}
    assert differences(with_package, {"altgrad": "absent"}) == [
        "altgrad is absent there and 0.2.0 here",
        "plugin halves is absent there and halves 1.0 here",
    ]


def test_a_machine_with_another_version_refuses_a_cell(tmp_path: Path) -> None:
    (message,) = Host({**installation(), "altgrad": "9.9"}, str(tmp_path)).train(task(tmp_path))
    assert message is not None and message["reply"] == "failed"
    assert f"altgrad is {version('altgrad')} there and 9.9 here; install the same versions" in message["message"]


def test_a_cell_that_is_cancelled_before_it_begins_does_not_begin(tmp_path: Path) -> None:
    host = Host(installation(), str(tmp_path))
    host.cancel(signal.SIGTERM)
    assert list(host.train(task(tmp_path))) == [{"reply": "interrupted"}]


def test_a_machine_without_the_directory_of_the_study_says_so(tmp_path: Path) -> None:
    host = Host(installation(), str(tmp_path))
    *_, last = host.train(task(tmp_path))
    host.close()
    assert last is not None and last["reply"] == "failed"
    assert f"{tmp_path / 'study'}: the directory of the study is not on " in last["message"]
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "127.0.0.1:9",
            "executor.address: no Ray cluster at 127.0.0.1:9: [Errno 111] Connection refused; start one with",
        ),
        ("auto", 'executor.address: is "auto"; expected host:port of a running Ray cluster'),
        ("", "executor.address: is missing; expected host:port of a running Ray cluster, here or in RAY_ADDRESS"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, altgrad: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, address: str, said: str
) -> None:
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    given = ("--set", f'executor.address="{address}"') if address else ()
    told = altgrad("run", written(tmp_path), "--executor", "ray", *given, "--out", tmp_path / "out")
    assert (told.code, said in told.err) == (2, True), told.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("executor", "settings", "hidden", "said"),
    [
        ("ray", (), "ray", 'executor "ray": Ray is not installed; pip install "altgrad[ray]"'),
        ("slurm", (), "submitit", 'executor "slurm": submitit is not installed; pip install "altgrad[slurm]"'),
        ("slurm", ("gpus=-1",), None, "executor.gpus: expected a value greater than or equal to 0, got -1"),
        ("slurm", ('cluster="local"', 'folder="/proc/none"'), None, "executor.folder must be a directory that all"),
    ],
)
def test_what_an_executor_cannot_do_is_said_before_anything_is_written(
    tmp_path: Path,
    altgrad: Callable[..., Said],
    monkeypatch: pytest.MonkeyPatch,
    executor: str,
    settings: tuple[str, ...],
    hidden: str | None,
    said: str,
) -> None:
    if hidden is not None:
        monkeypatch.setitem(sys.modules, hidden, None)  # type: ignore[arg-type]
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    given = [word for setting in settings for word in ("--set", f"executor.{setting}")]
    told = altgrad("run", written(tmp_path), "--executor", executor, *given, "--out", tmp_path / "out")
    assert (told.code, said in told.err) == (2, True), told.err
    assert not (tmp_path / "out").exists()


def test_a_part_of_several_cpus_is_refused(tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    told = altgrad("run", written(tmp_path), "--executor", "ray", "--set", "executor.cpus=1.5")
    assert (told.code, "executor.cpus: 1.5: above 1, Ray reserves whole numbers only" in told.err) == (2, True)
