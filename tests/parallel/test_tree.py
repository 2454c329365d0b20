"""Sums in a fixed tree: the same bits for every way of sharing the leaves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from altgrad_core.errors import ManifestError
from altgrad_core.running.parallel.processes import ALONE, Group
from altgrad_core.running.parallel.tree import Node, TreeSum, shapes_of

floats = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1e6, max_value=1e6)


def summed(nodes: list[Node]) -> float:
    tree = TreeSum()
    for node in nodes:
        tree.add(node)
    (total,) = tree.total()
    assert total is not None
    return float(total)


def leaves(values: list[float], begin: int = 0) -> list[Node]:
    return [Node(0, begin + place, [torch.tensor(value)]) for place, value in enumerate(values)]


@given(values=st.lists(floats, min_size=1, max_size=40), data=st.data())
def test_a_sum_does_not_depend_on_how_its_leaves_are_shared(values: list[float], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(values) - 1)), max_size=6)))
    nodes, begin = [], 0
    for end in [*cuts, len(values)]:
        tree = TreeSum()
        for node in leaves(values[begin:end], begin):
            tree.add(node)
        assert [(node.level, node.place) for node in tree.nodes] == shapes_of(range(begin, end))
        nodes += tree.nodes
        begin = end
    assert summed(nodes) == summed(leaves(values))


def test_four_leaves_are_added_in_pairs() -> None:
    tiny = 2.0**-24  # half the distance from 1 to the next float32: added one by one to 1 it is lost
    assert summed(leaves([1.0, tiny, tiny, tiny])) == 1.0 + 2**-23
    assert (torch.tensor(1.0) + tiny + tiny + tiny).item() == 1.0


def test_what_is_absent_is_left_out() -> None:
    tree = TreeSum()
    for place, tensor in enumerate([None, torch.tensor(2.0), None, torch.tensor(3.0)]):
        tree.add(Node(0, place, [tensor, None]))
    assert tree.total() == [torch.tensor(5.0), None]


def test_micro_batches_that_cannot_be_shared_are_refused() -> None:
    ALONE.refuse_uneven(3)
    Group(0, 2).refuse_uneven(4)
    with pytest.raises(ManifestError) as caught:
        Group(0, 2).refuse_uneven(3)
    assert str(caught.value) == (
        "data.accumulate: is 3, which 2 processes cannot share equally; expected a multiple of 2, "
        "such as --set data.accumulate=2"
    )
