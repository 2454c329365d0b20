"""Record files: whole lines of standard JSON, whatever the numbers are and wherever a kill came."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from altgrad_core.errors import RunError
from altgrad_core.records.record import RecordFile, encode_record, number
from altgrad_core.results.lines import RecordReader


def test_values_that_json_has_no_numbers_for_become_names() -> None:
    record = {"kind": "step", "loss": math.nan, "values": {"a": math.inf, 3: [-math.inf, (1, 2.5)]}, "none": None}
    line = encode_record(record)
    assert line == '{"kind":"step","loss":"NaN","values":{"a":"Infinity","3":["-Infinity",[1,2.5]]},"none":null}'
    assert json.loads(line, parse_constant=lambda name: pytest.fail(name))["loss"] == "NaN"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0.1, 3, 5e-324, 1.7976931348623157e308])
def test_a_number_comes_back_as_it_was(value: float) -> None:
    assert number(json.loads(encode_record({"x": value}))["x"]) == value


def test_nan_comes_back_as_nan() -> None:
    assert math.isnan(number(json.loads(encode_record({"x": math.nan}))["x"]))


def test_every_line_is_in_the_file_before_append_returns(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    file.append({"a": 1})
    assert (tmp_path / "records.jsonl").read_bytes() == b'{"a":1}\n'
    assert file.size == file.sync() == 8


@pytest.mark.parametrize("cut", range(1, 13))
def test_a_torn_last_line_is_passed_over_wherever_it_is_torn(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"kind":"a"}\n' + b'{"kind":"b"}\n'[:cut])
    assert list(RecordReader(path)) == [{"kind": "a"}]


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").touch()
    assert list(RecordReader(tmp_path / "records.jsonl")) == []


def test_cut_back_the_tail_is_kept_and_writing_goes_on_behind_the_cut(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    file.append({"a": 1})
    size = file.sync()
    file.append({"a": 2})
    file.cut_back(size)
    file.append({"a": 3})
    assert file.path.read_bytes() == b'{"a":1}\n{"a":3}\n'
    assert file.path.with_name("records.jsonl.tail-8").read_bytes() == b'{"a":2}\n'


def test_cut_back_to_its_own_size_nothing_is_kept_beside(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    file.append({"a": 1})
    file.cut_back(8)
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]


def test_a_file_shorter_than_the_cut_is_refused(tmp_path: Path) -> None:
    file = RecordFile(tmp_path / "records.jsonl")
    with pytest.raises(RunError) as caught:
        file.cut_back(8)
    assert str(caught.value) == (
        f"{file.path}: has 0 bytes, but 8 had been written at the time of "
        "the checkpoint; restore the whole file, or remove the checkpoints that are newer than it"
    )
