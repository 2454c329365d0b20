"""Sums over micro-batches in a fixed binary tree, so that no bit depends on how many processes shared the work.

The leaves are the micro-batches 0, 1, 2, ...; node (level, place) is the sum of leaves place * 2^level up to
(place + 1) * 2^level, the left half plus the right half. Where the number of leaves is not a power of two, the nodes that are left
over are added from the right. Every process forms the nodes that lie within its share; the others are formed once all
nodes are known. This is pairwise summation (Higham, 1993): its error grows with the logarithm of the number of leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

Tensors = list[Tensor | None]


class Node(NamedTuple):
    """The sum of 2 ** level leaves, one tensor for each parameter; None where no leaf had one."""

    level: int
    place: int
    tensors: Tensors


class TreeSum:
    """Takes leaves or nodes from left to right, and adds two as soon as they are neighbours in the tree.

    At most log2(leaves) + 1 nodes are kept. The tensors of a left node are overwritten by its sum.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node: Node) -> None:
        """Take the node to the right of all that were taken."""
        while self.nodes and _are_siblings(self.nodes[-1], node):
            left = self.nodes.pop()
            node = Node(node.level + 1, node.place // 2, _added(left.tensors, node.tensors))
        self.nodes.append(node)

    def total(self) -> Tensors:
        """The sum of everything, at least one leaf."""
        *others, last = self.nodes
        total = last.tensors
        for node in reversed(others):
            total = _added(node.tensors, total)
        self.nodes = []
        return total


def shapes_of(leaves: range) -> list[tuple[int, int]]:
    """Level and place of the nodes that a share of the leaves leaves behind."""
    tree = TreeSum()
    for index in leaves:
        tree.add(Node(0, index, []))
    return [(node.level, node.place) for node in tree.nodes]


def _are_siblings(left: Node, right: Node) -> bool:
    return left.level == right.level and left.place % 2 == 0 and right.place == left.place + 1


def _added(left: Tensors, right: Sequence[Tensor | None]) -> Tensors:
    return [b if a is None else a if b is None else a.add_(b) for a, b in zip(left, right, strict=True)]
