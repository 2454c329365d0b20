"""The EurLex example: a small parquet file of its shape in its place, then the command line as its comments say."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

MANIFEST = Path(__file__).parents[2] / "examples" / "eurlex.toml"
SMALL = [
    part
    for setting in ("model.n_layer=1", "model.n_embd=16", "model.n_head=2", "run.evaluate_batches=2")
    for part in ("--set", setting)
]


def acts(count: int, *, first: int) -> pa.Table:
    """Acts as `coastalcph/lex_glue` has them: the text, and labels, which are a list of classes."""
    texts = [
        f"COMMISSION REGULATION (EC) No {n}/2001\nof {n % 28 + 1} May 2001 fixing the import duties in the rice sector\n"
        f"THE COMMISSION OF THE EUROPEAN COMMUNITIES,\nHaving regard to Article {n % 30} of the Treaty, " * 4
        for n in range(first, first + count)
    ]
    labels = pa.array([[n % 100, n % 7] for n in range(count)], pa.list_(pa.int64()))
    return pa.table({"text": texts, "labels": labels})


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the manifest with data beside it, and no network."""
    monkeypatch.setenv("ALTGRAD_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "eurlex").mkdir()
    pq.write_table(acts(12, first=1), tmp_path / "eurlex" / "train-00000-of-00002.parquet")
    pq.write_table(acts(8, first=13), tmp_path / "eurlex" / "train-00001-of-00002.parquet")
    pq.write_table(acts(8, first=21), tmp_path / "eurlex" / "validation-00000-of-00001.parquet")
    shutil.copy(MANIFEST, tmp_path / "eurlex.toml")

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"a connection was attempted: {arguments}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return tmp_path / "eurlex.toml"


def test_it_trains_on_the_text_of_the_acts(altgrad: Callable[..., Any], example: Path) -> None:
    assert altgrad("run", example, "--steps", 5, "--out", example.parent / "run", *SMALL).code == 0
    summary = json.loads((example.parent / "run" / "summary.json").read_text())
    assert summary["validation_loss"] < 5.6  # ln(256) is 5.55
    facts, expected = summary["data"], "\n\n".join(acts(20, first=1)["text"].to_pylist())
    assert (facts["documents"], facts["bytes"]) == (20, len(expected))
    assert facts["validation"]["documents"] == 8
    assert facts["source"].endswith("train-00001-of-00002.parquet")


def test_a_vocabulary_of_its_own_is_learned_and_used_as_its_comment_says(
    altgrad: Callable[..., Any], example: Path
) -> None:
    learned = altgrad("train-tokenizer", example, "--vocabulary", 300, "--out", example.parent / "eurlex.tiktoken")
    assert (learned.code, learned.out.splitlines()[-1]) == (0, 'tokenizer = "ranks:eurlex.tiktoken"')
    setting = 'data.tokenizer="ranks:eurlex.tiktoken"'
    plan = altgrad("check", example, "--json", *SMALL, "--set", setting, "--set", "model.block_size=32")
    assert (plan.code, json.loads(plan.out)["vocabulary"]) == (0, 300)


def test_without_the_data_it_says_where_it_looked(altgrad: Callable[..., Any], tmp_path: Path) -> None:
    shutil.copy(MANIFEST, tmp_path)
    said = altgrad("check", tmp_path / "eurlex.toml")
    assert (said.code, said.err) == (
        2,
        f'altgrad: {tmp_path}/eurlex.toml: data.files[0]: no file matches "eurlex/train-*.parquet" (looked in {tmp_path}); '
        'paths are relative to the manifest, and "**/*.txt" searches all folders below\n',
    )
