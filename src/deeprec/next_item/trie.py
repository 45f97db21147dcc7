"""The catalogue as a trie: which code may follow which, and what is left for a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import DataError

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Level:
    """The M nodes that so many codes lead to, in the order of their codes; P nodes are above them."""

    code: Ints  # (M,) the last code on the way to the node
    start: Ints  # (P + 1,) children of node p above are start[p] .. start[p + 1] - 1
    count: Ints  # (M,) items under the node
    first_item: Ints  # (M,) the smallest item index under the node, by which ties break
    of_item: Ints  # (n_items + 1,) the node above each item; -1 for padding


class Trie:
    """All code sequences of a catalogue, and no other.

    >>> trie = Trie(np.array([[0, 0], [1, 0], [0, 2], [1, 1]]))  # row 0 pads
    >>> [level.code.tolist() for level in trie.levels]
    [[0, 1], [2, 0, 1]]
    """

    def __init__(self, codes: Ints) -> None:
        """`codes` (n_items + 1, L); raises DataError when two items have the same codes."""
        rows = codes[1:]
        order = np.lexsort(rows.T[::-1])
        ordered = rows[order]
        self.levels: list[Level] = []
        above = np.zeros(len(rows), dtype=np.int64)
        for depth in range(codes.shape[1]):
            fresh = np.ones(len(rows), dtype=np.bool_)
            fresh[1:] = (ordered[1:, : depth + 1] != ordered[:-1, : depth + 1]).any(axis=1)
            first = np.flatnonzero(fresh)
            node = np.cumsum(fresh) - 1  # of each item, in the order of codes
            of_item = np.full(len(codes), -1, dtype=np.int64)
            of_item[order + 1] = node
            self.levels.append(
                Level(
                    code=ordered[first, depth],
                    start=np.searchsorted(above[first], np.arange(above[-1] + 2)),
                    count=np.bincount(node),
                    first_item=np.minimum.reduceat(order + 1, first),
                    of_item=of_item,
                )
            )
            above = node
        if self.levels[-1].count.max() > 1:
            leaf = int(self.levels[-1].count.argmax())
            twins = np.flatnonzero(self.levels[-1].of_item == leaf)[:2].tolist()
            raise DataError(f"items {twins[0]} and {twins[1]} have the same codes; codes must be unique")

    def children(self, nodes: Ints, depth: int) -> tuple[Ints, Ints]:
        """Nodes of level `depth` below `nodes` (F,) of the level before: row in `nodes` and node, (C,) each."""
        start = self.levels[depth].start
        counts = start[nodes + 1] - start[nodes]
        row = np.repeat(np.arange(len(nodes)), counts)
        within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        return row, start[nodes][row] + within


class Remaining:
    """How many items are left under a node for each of U users, without those excluded."""

    def __init__(self, trie: Trie, excluded: Sequence[Sequence[int]]) -> None:
        """`excluded` lists item indices by user; one that is listed twice counts once."""
        self._trie = trie
        users = np.repeat(np.arange(len(excluded)), [len(items) for items in excluded])
        items = np.array([item for row in excluded for item in row], dtype=np.int64)
        pairs = np.unique(np.stack([users, items]), axis=1)
        self._taken = [
            np.unique(pairs[0] * len(level.code) + level.of_item[pairs[1]], return_counts=True)
            for level in trie.levels
        ]

    def left(self, user: Ints, node: Ints, depth: int) -> NDArray[np.bool_]:
        """Whether anything is left under each node (C,) of level `depth` for the user beside it."""
        level = self._trie.levels[depth]
        keys, counts = self._taken[depth]
        count = level.count[node].copy()
        if len(keys):
            wanted = user * len(level.code) + node
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            count -= np.where(keys[place] == wanted, counts[place], 0)
        return count > 0
