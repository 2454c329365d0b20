"""The server: who may ask it, what it refuses before it starts, and that it serves everything itself."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.patience import LONGEST

pytest.importorskip("dash")

from altgrad_core.dashboard.app import build_app
from altgrad_core.dashboard.sources import Sources

HERE = {"Host": "127.0.0.1"}


@pytest.fixture
def client(tmp_path: Path) -> Any:
    return build_app(Sources(tmp_path)).server.test_client()


def test_everything_a_page_needs_comes_from_this_server(client: Any) -> None:
    page = client.get("/", headers={"Host": "127.0.0.1:1"})
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) > 5 and all(source.startswith("/") and not source.startswith("//") for source in sources)
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert '"disable_version_check":true' in page.text


@pytest.mark.parametrize(("host", "code"), [("localhost:80", 200), ("127.0.0.1", 200), ("evil.example", 403)])
def test_a_page_under_another_name_is_refused(client: Any, host: str, code: int) -> None:
    assert client.get("/", headers={"Host": host}).status_code == code


def asked(client: Any, output: str, values: dict[str, Any]) -> Any:
    """What a page gets that asks for one of its parts."""
    (one,) = [d for d in client.get("/_dash-dependencies", headers=HERE).json if d["output"].startswith(output)]
    names = [part.rpartition(".") for part in one["output"].strip(".").split("...")]
    outputs = [{"id": part, "property": name} for part, _, name in names]
    body = {
        "output": one["output"],
        "outputs": outputs if one["output"].startswith("..") else outputs[0],
        "inputs": [{**part, "value": values.get(part["property"])} for part in one["inputs"]],
        "state": [{**part, "value": values.get(part["property"])} for part in one["state"]],
        "changedPropIds": [],
    }
    return client.post("/_dash-update-component", json=body, headers=HERE)


@pytest.mark.parametrize("name", ["a\udcff", "a\nb", "\x1b]0;x\x07", "<b>", "%2e%2e&at=x#?", "a b"])
def test_a_directory_of_any_name_has_its_line_and_its_page(
    name: str, finished: Path, client: Any, tmp_path: Path
) -> None:
    shutil.copytree(finished, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    line = asked(client, "home.", {})
    query = re.search(r"run(\?at=[^\"]+)", line.text)
    assert line.status_code == 200 and query is not None
    page = asked(client, "run-head.", {"search": query[1]})
    assert page.status_code == 200 and "no longer there" not in page.text and "loss " in page.text


@pytest.mark.parametrize("body", [b"null", b"[]", b"{", b'{"output":"x"}', b"\xff", b"[" * 10_000])
def test_a_request_that_no_page_sends_is_answered_and_told_in_one_line(
    body: bytes, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = client.post("/_dash-update-component", data=body, content_type="application/json", headers=HERE)
    assert answer.status_code in (400, 500)
    told = capsys.readouterr().err
    assert told.count("\n") == (answer.status_code == 500)
    assert not told or told.startswith("altgrad: serve: /_dash-update-component: ")


@pytest.mark.parametrize("search", [7, ["x"], {"a": 1}, None, "?at=../..", "?at=%ff", "?at=%00"])
def test_a_place_that_is_none_has_no_page(search: Any, client: Any) -> None:
    page = asked(client, "page.", {"search": search, "pathname": "/run"})
    assert page.status_code == 200 and "No run of this name" in page.text


def test_a_missing_directory_is_refused(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    said = altgrad("serve", tmp_path / "none")
    assert said.code == 2
    assert said.err == f"altgrad: {tmp_path}/none: is not a directory; expected one that has runs or studies below it\n"


def test_a_port_that_is_taken_is_refused(tmp_path: Path, altgrad: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = altgrad("serve", tmp_path, "--port", port)
    assert (said.code, said.err) == (
        1, f"altgrad: --port {port}: Address already in use; choose another one, or 0 for any that is free\n",
    )  # fmt: skip


def test_the_address_that_is_told_answers_and_an_interrupt_ends_the_server(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "altgrad_core", "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+/", process.stderr.readline())
            assert found is not None
            with urlopen(found[0], timeout=LONGEST) as page:
                assert page.status == 200
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=LONGEST) == 0
            assert process.stderr.read() == ""
        finally:
            process.kill()
