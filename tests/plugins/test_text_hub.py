"""Data sets of Hugging Face and the network: files need none, and a name on the hub is refused without one."""

import os
import subprocess
import sys

import pytest

from tests.plugins.test_text_huggingface import refusal

pytestmark = pytest.mark.usefixtures("no_cache")

REFUSED = """
import socket, sys, time
from pathlib import Path
attempts = []
def refuse(*arguments, **options):
    attempts.append(arguments)
    raise OSError("no network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from altgrad_core import ManifestError
from altgrad_text import HuggingFace
begun = time.monotonic()
try:
    print(len(HuggingFace({options}).build().train))
except ManifestError as error:
    print(error)
print(len(attempts), time.monotonic() - begun < 15)
"""


def without_network(options, **variables):
    done = subprocess.run(
        [sys.executable, "-c", REFUSED.replace("{options}", options)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    return done.stdout.splitlines(), done.stderr


def test_files_are_read_without_a_single_attempt_to_connect_and_without_a_copy(acts):
    (acts / "a.json").write_text('[{"text": "of JSON"}]')
    (acts / "b.jsonl").write_text('{"text": "of lines"}\n')
    names = ", ".join(f"Path({str(acts / name)!r})" for name in ("acts.parquet", "a.json", "b.jsonl"))
    out, err = without_network(f"files=[{names}], tokenizer='bytes'")
    assert out[1:] == ["0 True"]
    assert err == ""
    assert [path for path in (acts / "hf").rglob("*") if path.is_file() and path.suffix == ".arrow"] == []


def test_a_name_on_the_hub_without_a_network_is_refused_in_seconds(acts):
    out, err = without_network("path='owner/name'")
    assert out[0] == (
        "data.path: cannot reach https://huggingface.co for owner/name (ConnectError); if it is in the cache, set "
        "HF_HUB_OFFLINE=1; or download its parquet files elsewhere and name them with files = [...]"
    )
    assert out[1].endswith(" True")
    assert "Traceback" not in err


def test_a_name_that_is_not_in_the_cache_is_refused_offline_without_an_attempt(acts):
    out, _ = without_network("path='owner/name'", HF_HUB_OFFLINE="1")
    assert out == [
        "data.path: cannot load owner/name: Couldn't reach 'owner/name' on the Hub (OfflineModeIsEnabled); "
        "HF_HUB_OFFLINE is set, and it is not in the cache; or download its parquet files elsewhere and name them with "
        "files = [...]",
        "0 True",
    ]


def test_a_folder_is_not_taken_for_a_name_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "acts").mkdir()
    assert refusal(tmp_path, path="acts") == (
        'data.path: "acts" is a folder or file here, and path is a name on the hub; name your files: '
        'files = ["acts/*.parquet"]'
    )
