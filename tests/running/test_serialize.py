"""Any state of plain data and tensors survives packing; what is neither is named."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from altgrad_core.running.state.serialize import load_model_file, model_file, packed_files, unpacked_files

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers()
states = st.recursive(
    plain,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner) | st.sets(st.integers()),
    max_leaves=20,
)


@given(states)
def test_plain_states_come_back_equal_and_of_the_same_type(state: Any) -> None:
    back = unpacked_files("state", packed_files("state", state))
    assert back == state
    assert type(back) is type(state)


def test_tensors_come_back_bit_for_bit_with_shape_and_type() -> None:
    state = {
        "a": [torch.tensor([math.nan, -0.0]), torch.tensor(3, dtype=torch.int8)],
        7: (torch.randn(2, 3).to(torch.bfloat16).T, True),
    }
    back = unpacked_files("state", packed_files("state", state))
    assert torch.equal(back["a"][0].view(torch.int32), state["a"][0].view(torch.int32))
    assert back["a"][1].dtype == torch.int8
    assert back["a"][1].shape == ()
    assert torch.equal(back[7][0], state[7][0])
    assert back[7][1] is True


def test_what_is_no_state_is_named() -> None:
    with pytest.raises(TypeError) as caught:
        packed_files("state", {"a": [object()]})
    assert str(caught.value) == (
        "state.a.0 is a object; state is plain data (numbers, strings, lists, dicts) and tensors"
    )


def test_tied_tensors_are_written_once_and_stay_tied() -> None:
    def tied() -> nn.ModuleDict:
        model = nn.ModuleDict({"a": nn.Linear(3, 3, bias=False), "b": nn.Linear(3, 3, bias=False)})
        model["b"].weight = model["a"].weight
        return model

    one, other = tied(), tied()
    raw = model_file(one)
    assert len(raw) < 3 * 3 * 4 * 2 + 100
    load_model_file(other, raw)
    assert torch.equal(other["a"].weight, one["a"].weight)
    assert other["a"].weight is other["b"].weight


def test_counters_stay_counters_inside_other_containers_and_odd_infinities_come_back() -> None:
    state = {"by layer": {"a": Counter({"x": 2})}, "limit": np.float64("inf")}
    back = unpacked_files("state", packed_files("state", state))
    assert back == state
    assert back["by layer"]["a"]["missing"] == 0
