"""Texts with labels: what is read from parquet files, and a model that learns them through the real command line."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from altgrad_text import LabelledText

from altgrad_core import ManifestError

MANIFEST = """
[run]
name = "labelled"
steps = 60
evaluate_every = 60
[model]
use = "nanogpt"
n_layer = 1
n_head = 2
n_embd = 16
block_size = 8
[data]
use = "labelled-text"
files = ["train.parquet"]
validation_files = ["train.parquet"]
labels = 3
length = 8
batch_size = 8
[optimizer]
use = "adamw"
lr = 0.01
[[recipe]]
layers = "blocks.*"
weight = { format = "e4m3" }
"""


def write(path, texts, labels):
    pq.write_table(pa.table({"text": texts, "labels": labels}), path)


@pytest.fixture
def folder(tmp_path):
    texts = ["aaaa" if i % 2 else "bbbbbbbbbbbb" for i in range(40)]
    write(tmp_path / "train.parquet", texts, [[0] if i % 2 else [1, 2] for i in range(40)])
    return tmp_path


def options(folder, **more):
    data = {"files": ["train.parquet"], "validation_files": ["train.parquet"], "labels": 3, "length": 6, **more}
    return LabelledText.model_validate_json(json.dumps(data), context={"directory": str(folder)})


def test_texts_are_cut_or_filled_up_and_labels_are_marked(folder):
    data = options(folder).build()
    assert data.shape.inputs == (6,) and (data.vocabulary, data.padding, data.task.outputs) == (257, 256, 3)
    assert data.train.inputs[:2].tolist() == [[98] * 6, [97] * 4 + [256] * 2]
    assert data.train.targets[:2].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert data.facts["examples"] == 80 and data.facts["labels_per_text"] == 1.5


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([[0], [3]], "expected a list of whole numbers from 0 to 2, got [3]"),
        ([["a"], ["b"]], 'expected a list of whole numbers from 0 to 2, got ["a"]'),
        ([0, 1], "expected a list of whole numbers from 0 to 2, got 0"),
    ],
)
def test_a_label_that_is_none_is_refused_with_its_row(folder, labels, said):
    write(folder / "train.parquet", ["x", "y"], labels)
    with pytest.raises(ManifestError) as caught:
        options(folder).build()
    assert (
        str(caught.value).startswith("data.labels_column: ")
        and said in str(caught.value)
        and ", row " in str(caught.value)
    )


def test_a_missing_column_is_named_by_its_key(folder):
    with pytest.raises(ManifestError, match=r'data\.labels_column: .* has no column "label"; did you mean "labels"'):
        options(folder, labels_column="label").build()


def test_a_model_learns_which_labels_a_text_has(folder, altgrad):
    path = folder / "labelled.toml"
    path.write_text(MANIFEST)
    assert altgrad("run", path, "--out", folder / "run").code == 0
    summary = json.loads((folder / "run" / "summary.json").read_text())
    assert summary["metrics"]["micro-f1"] > 0.9 and summary["task"]["name"] == "any-of"
    assert altgrad("check", path, "--set", "data.length=9").err.count("model.block_size: sequences have 9 tokens") == 1


def test_padding_changes_nothing(folder):
    torch = pytest.importorskip("torch")
    from altgrad_nanogpt import NanoGPT

    from altgrad_core import DataShape

    torch.manual_seed(0)
    model = NanoGPT(n_layer=1, n_head=2, n_embd=16, block_size=8).build_for(DataShape((8,), 3, 257, 256)).eval()
    short = torch.tensor([[97, 98, 99]])
    padded = torch.tensor([[97, 98, 99, 256, 256]])
    assert np.allclose(model(short).detach(), model(padded).detach(), atol=1e-6)
