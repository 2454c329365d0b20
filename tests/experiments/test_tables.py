"""The tables of a study, on the disk and in memory."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from altgrad_core.experiments.evidence.analysis import Analysis
from altgrad_core.experiments.evidence.tables import Table, as_csv, as_parquet, files, tables
from altgrad_core.experiments.study.study import Study

Read = Callable[..., Study]
NAMES = ["cells", "rates", "arms", "effects", "costs", "contrasts", "pairs", "layers", "failures", "controls"]


def by_name(study: Study) -> dict[str, list[dict[str, Any]]]:
    """Every table as rows by column."""
    return {
        table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for table in tables(Analysis(study))
    }


@pytest.fixture
def mixed(study: Read, made: Any) -> Study:
    """Two optimizers at three rates and three seeds, one of them diverged, and a probe."""
    readings = {"stall-ratio": {"lm_head": 0.5}}
    cells = [
        made("e4m3", optimizer, rate, seed, None if rate == 1.0 and seed == 2 else 2.0 + rate - gain, readings=readings)
        for optimizer, gain in (("adamw", 0.0), ("manifold-adamw", 0.05))
        for rate in (0.01, 0.1, 1.0)
        for seed in (1, 2, 3)
    ]
    return study([*cells, made(rate=3.0, loss=None, role="probe"), made(seed=9, status="crashed")])


def test_every_table_says_what_the_study_holds(mixed: Study) -> None:
    found = by_name(mixed)
    assert list(found) == NAMES
    first = found["cells"][0]
    assert (first["validation_loss"], first["perplexity"]) == (2.01, pytest.approx(math.exp(2.01)))
    assert (first["steps"], first["parameters"], first["role"]) == (4, 4400, "cell")
    assert [(r["rate"], r["diverged"], r["ended"], r["is_chosen"]) for r in found["rates"][:4]] == [
        (0.01, 0, 3, 1), (0.1, 0, 3, 0), (1.0, 1, 3, 0), (3.0, 1, 1, 0),
    ]  # fmt: skip
    assert [(r["optimizer"], r["rates_tried"], r["is_tuned"]) for r in found["arms"]] == [
        ("adamw", 3, 0), ("manifold-adamw", 3, 0),
    ]  # fmt: skip
    assert [(r["metric"], r["pairs"]) for r in found["effects"]] == [("loss", 3), ("perplexity", 3)]
    assert found["effects"][0]["mean"] == pytest.approx(0.05)
    assert [(r["seed"], r["gain"]) for r in found["pairs"]] == [(s, pytest.approx(0.05)) for s in (1, 2, 3)]
    assert [(r["layer_type"], r["mean"], r["cells"]) for r in found["layers"]] == [("classifier", 0.5, 3)] * 2
    assert [(r["status"], r["layer"], r["step"], r["phase"]) for r in found["failures"]] == [
        ("diverged", "blocks.0.attn.qkv", 2, "backward"),
        ("diverged", "blocks.0.attn.qkv", 2, "backward"),
        ("diverged", "blocks.0.attn.qkv", 2, "backward"),
        ("crashed", None, None, None),
    ]
    assert found["controls"] == []


def test_the_files_are_read_back_as_they_were(mixed: Study) -> None:
    written = files(Analysis(mixed))
    assert [name for name in written if name.endswith(".csv")] == [f"{name}.csv" for name in NAMES]
    for table in tables(Analysis(mixed)):
        rows = list(csv.reader(io.StringIO(written[f"{table.name}.csv"].decode())))
        assert tuple(rows[0]) == table.columns
        assert rows[1:] == [["" if value is None else str(value) for value in row] for row in table.rows]
    assert files(Analysis(mixed)) == files(Analysis(mixed))


def test_parquet_holds_the_same(mixed: Study) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for table in tables(Analysis(mixed)):
        content = as_parquet(table)
        assert content is not None
        read = parquet.read_table(io.BytesIO(content)).to_pydict()
        assert tuple(read) == table.columns
        assert [tuple(row) for row in zip(*read.values(), strict=True)] == list(table.rows)


def test_a_column_of_numbers_and_words_is_words() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    content = as_parquet(Table("t", ("a", "b"), ((1, 1), ("x", 0.5), (None, None))))
    assert content is not None
    assert parquet.read_table(io.BytesIO(content)).to_pydict() == {"a": ["1", "x", None], "b": [1.0, 0.5, None]}


def test_without_pyarrow_there_is_csv(mixed: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altgrad_core.experiments.evidence.tables.find_spec", lambda name: None)
    assert [Path(name).suffix for name in files(Analysis(mixed))] == [".csv"] * len(NAMES)


def test_a_name_with_a_comma_or_a_quote_is_one_value() -> None:
    content = as_csv(Table("t", ("a", "b"), (('<b>"x", y</b>\n', 1),)))
    assert list(csv.reader(io.StringIO(content.decode()))) == [["a", "b"], ['<b>"x", y</b>\n', "1"]]
