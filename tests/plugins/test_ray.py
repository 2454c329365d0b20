"""Studies on a real Ray cluster of two nodes, every port on 127.0.0.1."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from altgrad_core.registry.registry import installed
from altgrad_core.testing import check_executor
from tests.experiments.commands import cells_of, start, written
from tests.patience import LONGEST, wait_for

if TYPE_CHECKING:
    from tests.conftest import Said

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # else Ray replaces 127.0.0.1 by the address of the machine
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
pytestmark = pytest.mark.ray

LOCAL = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80_000_000, "num_cpus": 1}
ONE_THREAD = ("--set", "run.threads=1")
LONG = (*ONE_THREAD, "--set", "run.steps=300", "--set", "run.checkpoint_every=20")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes."""
    nodes = pytest.importorskip("ray.cluster_utils").Cluster()
    nodes.add_node(**LOCAL)
    nodes.add_node(**LOCAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", nodes.address)
        yield nodes
    nodes.shutdown()


@pytest.fixture
def cluster_with_token(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Its address, and the environment that gives its token. `ray start` begins it, as a user does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
    options = ["--node-ip-address", "127.0.0.1", "--include-dashboard=false", "--num-cpus=1", "--block"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", f"--port={port}", *options]
    with (tmp_path / "ray.log").open("w") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **token})
    wait_for(lambda: "Ray runtime started" in (tmp_path / "ray.log").read_text())
    yield f"127.0.0.1:{port}", token
    head.send_signal(signal.SIGTERM)
    head.wait(timeout=LONGEST)


def same_study(one: Path, other: Path) -> bool:
    """Whether two studies have the same reports and records, byte for byte."""
    files = sorted(path.relative_to(one) for pattern in ("report.*", "*/records.jsonl") for path in one.glob(pattern))
    assert len(files) >= 4
    return all((one / file).read_bytes() == (other / file).read_bytes() for file in files)


def test_a_study_on_ray_is_the_same_as_one_on_this_machine(
    cluster: Any, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    study = written(tmp_path, "[matrix]\nrun.seed = [1, 2]\n")
    told = altgrad("run", study, "--executor", "ray", "--jobs", 2, *ONE_THREAD, "--out", tmp_path / "ray" / "out")
    assert told.code == 0, told.err
    assert altgrad("run", study, *ONE_THREAD, "--out", tmp_path / "own" / "out").code == 0
    assert same_study(tmp_path / "ray" / "out", tmp_path / "own" / "out")


def test_ray_keeps_the_laws_of_executors(cluster: Any) -> None:
    check_executor(installed().get("executor", "ray"))


def test_a_cluster_that_asks_for_a_token_is_used_with_it_and_names_it_without(
    cluster_with_token: tuple[str, dict[str, str]], tmp_path: Path, altgrad_process: Callable[..., Said]
) -> None:
    address, token = cluster_with_token
    command = (
        "run",
        written(tmp_path, "[matrix]\nrun.seed = [1]\n"),
        "--executor",
        "ray",
        *ONE_THREAD,
        "--out",
        tmp_path / "out",
    )
    given = {**os.environ, "RAY_ADDRESS": address}
    refused = altgrad_process(*command, env={**given, "RAY_AUTH_MODE": "disabled"})
    assert refused.code == 2
    assert "the cluster asks for a token, and this command gave none or another one; set" in refused.err
    assert not (tmp_path / "out").exists()
    told = altgrad_process(*command, env={**given, **token})
    assert told.code == 0, told.err


def test_a_cell_that_no_node_can_hold_is_refused(cluster: Any, tmp_path: Path, altgrad: Callable[..., Said]) -> None:
    more = ("--executor", "ray", "--set", "executor.cpus=64", "--out", tmp_path / "out")
    told = altgrad("run", written(tmp_path), *more)
    assert told.code == 2
    assert (
        "executor: a cell asks for 64 CPU, and no node of the cluster has that; the nodes have: 1 CPU, 0 GPU"
        in told.err
    )
    assert not (tmp_path / "out").exists()


def test_a_node_with_another_version_is_refused_by_name(
    cluster: Any, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    old = tmp_path / "old" / "altgrad-0.0.1.dist-info"
    old.mkdir(parents=True)
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: altgrad\nVersion: 0.0.1\n")
    (old / "entry_points.txt").write_text("[altgrad]\nexecutors = altgrad_executors\n")
    node = cluster.add_node(**LOCAL, env_vars={"PYTHONPATH": str(old.parent)})
    try:
        told = altgrad("run", written(tmp_path), "--executor", "ray", "--out", tmp_path / "out")
    finally:
        cluster.remove_node(node)
    assert told.code == 2
    assert "altgrad is 0.0.1 there and 0.2.0 here" in told.err
    assert "install the same versions on every node" in told.err
    assert not (tmp_path / "out").exists()


def test_an_interrupted_study_on_ray_saves_and_goes_on(
    cluster: Any, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    study = written(tmp_path, "[matrix]\nrun.seed = [1, 2]\n")
    process = start("run", study, "--executor", "ray", "--jobs", 2, *LONG, "--out", tmp_path / "ray" / "out")
    wait_for(
        lambda: len([p for p in (tmp_path / "ray" / "out").glob("*/records.jsonl") if p.stat().st_size > 2000]) == 2
    )
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=LONGEST)
    assert (process.returncode, "saved; continue with" in err) == (130, True)
    assert altgrad("run", study, *LONG, "--out", tmp_path / "ray" / "out").code == 0
    assert altgrad("run", study, *LONG, "--out", tmp_path / "own" / "out").code == 0
    assert same_study(tmp_path / "ray" / "out", tmp_path / "own" / "out")


def test_a_study_that_loses_a_node_ends_with_every_cell_finished_once(
    cluster: Any, tmp_path: Path, altgrad: Callable[..., Said]
) -> None:
    study, out = written(tmp_path), tmp_path / "ray" / "out"
    lost = cluster.add_node(**LOCAL)
    process = start("run", study, "--executor", "ray", "--jobs", 3, *LONG, "--out", out)
    wait_for(lambda: len([path for path in out.glob("*/records.jsonl") if path.stat().st_size > 2000]) == 3)
    cluster.remove_node(lost, allow_graceful=False)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "Ray lost the process of a cell" in err
    for cell in cells_of(out):
        records = [json.loads(line) for line in (out / cell["name"] / "records.jsonl").read_text().splitlines()]
        assert [record["kind"] for record in records].count("ended") == 1
    assert altgrad("run", study, *LONG, "--out", tmp_path / "own" / "out").code == 0
    assert same_study(out, tmp_path / "own" / "out")
