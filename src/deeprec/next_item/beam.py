"""Beam search over the catalogue's trie: every sequence it writes is an item.

The history is read once. A beam's tokens are then put behind it in one row with those of all
other beams, and a mask lets each see the history and its own past only: nothing of the
history's keys and values is copied for a beam.

Items that may not be recommended are left out of the trie itself: a node without any other item
is never entered, so that no beam is lost to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from deeprec.next_item.model import ItemModel
from deeprec.next_item.trie import Ints, Remaining, Trie
from deeprec.rollout.engines.causal_lm import cache_argument

# Rows of one pass and the step of its length. A matrix product rounds by its shape: rows are filled up to
# these sizes, so that a user's scores don't depend on who else is asked about.
_ROWS, _ROWS_GPU, _STEP = 32, 256, 16


@dataclass(frozen=True)
class Beams:
    """The F beams of all users after some levels, grouped by user, best first."""

    user: Ints  # (F,)
    node: Ints  # (F,) in the trie's level
    score: NDArray[np.float32]  # (F,) sum of log-probabilities
    slot: Ints  # (F,) place among the user's beams
    path: Ints  # (F, levels before this one) the slots of the beams that this one goes on from


class BeamSearch:
    """Ranks items by the log-probability of their codes, as far as `width` beams find them.

    With as many beams as the trie has nodes in its widest level the ranking is exact.
    """

    def __init__(self, model: ItemModel, trie: Trie, history: int) -> None:
        """`history` is how many of the latest items are read."""
        self.model, self.trie, self.history = model, trie, history

    @torch.inference_mode()
    def search(
        self, histories: Sequence[Sequence[int]], excluded: Sequence[Sequence[int]], width: int
    ) -> list[list[tuple[int, float]]]:
        """For each history the (item, score) pairs that `width` beams end at, best first.

        Ties break by item index. There are `width` pairs, or as many as items are left.
        """
        found: list[list[tuple[int, float]]] = [[] for _ in histories]
        recent = [list(history)[-self.history :] for history in histories]
        sizes = np.array([self._size(len(history)) for history in recent], dtype=np.int64)
        rows = _ROWS if self.model.device.type == "cpu" else _ROWS_GPU
        for size in np.unique(sizes).tolist():
            same = np.flatnonzero(sizes == size).tolist()
            for start in range(0, len(same), rows):
                part = same[start : start + rows]
                some = self._search([recent[i] for i in part], [excluded[i] for i in part], width, size, rows)
                for place, pairs in zip(part, some, strict=True):
                    found[place] = pairs
        return found

    def _size(self, items: int) -> int:
        """Items that a history is filled up to."""
        return min(-(-items // _STEP) * _STEP, self.history)

    def _search(
        self,
        histories: Sequence[Sequence[int]],
        excluded: Sequence[Sequence[int]],
        width: int,
        size: int,
        rows: int,
    ) -> list[list[tuple[int, float]]]:
        remaining = Remaining(self.trie, excluded)
        model = _Beamed(self.model, histories, size, rows, width)
        users = np.arange(len(histories))
        beams = Beams(
            users, users * 0, np.zeros(len(users), np.float32), users * 0, np.zeros((len(users), 0), np.int64)
        )
        for depth in range(len(self.trie.levels)):
            if depth:
                codes = self.trie.levels[depth - 1].code[beams.node]
                log_probs = model.append(beams, codes, depth)
            else:
                log_probs = model.first()
            beams = self._expand(beams, log_probs, remaining, depth, width)
        items = self.trie.levels[-1].first_item[beams.node].tolist()
        found: list[list[tuple[int, float]]] = [[] for _ in histories]
        for user, item, score in zip(beams.user.tolist(), items, beams.score.tolist(), strict=True):
            found[user].append((item, score))
        return found

    def _expand(
        self, beams: Beams, log_probs: NDArray[np.float32], remaining: Remaining, depth: int, width: int
    ) -> Beams:
        """The `width` best children of each user's beams; `log_probs` is (users, beams, K)."""
        level = self.trie.levels[depth]
        parent, node = self.trie.children(beams.node, depth)
        user = beams.user[parent]
        score = beams.score[parent] + log_probs[user, beams.slot[parent], level.code[node]]
        kept = np.flatnonzero(remaining.left(user, node, depth))
        kept = kept[_near_best(user[kept], score[kept], width)]
        kept = kept[np.lexsort((level.first_item[node[kept]], -score[kept], user[kept]))]
        user = user[kept]
        slot = np.arange(len(kept)) - np.searchsorted(user, user)
        kept, user, slot = (values[slot < width] for values in (kept, user, slot))
        path = np.column_stack([beams.path[parent[kept]], beams.slot[parent[kept]]])
        return Beams(user, node[kept], score[kept], slot, path)


def _near_best(user: Ints, score: NDArray[np.float32], width: int) -> NDArray[np.bool_]:
    """True for scores that are no lower than the user's `width`-th best; `user` is ascending."""
    near = np.ones(len(score), dtype=np.bool_)
    bounds = np.flatnonzero(np.diff(user, prepend=-1, append=-1))
    for start, stop in pairwise(bounds.tolist()):
        if stop - start > width:
            part = score[start:stop]
            near[start:stop] = part >= np.partition(part, len(part) - width)[len(part) - width]
    return near


class _Beamed:
    """The model on one batch of histories, filled up to fixed sizes: reads them, then beam after beam."""

    def __init__(
        self, model: ItemModel, histories: Sequence[Sequence[int]], size: int, rows: int, width: int
    ) -> None:
        self.model, self.rows, self.width = model, rows, width
        prefixes = [model.prefix(history) for history in histories]
        self.length = torch.ones(rows, dtype=torch.long)
        self.length[: len(prefixes)] = torch.tensor([len(prefix) for prefix in prefixes])
        self.tokens = torch.full((rows, 1 + size * model.names.levels), model.start)
        for row, prefix in enumerate(prefixes):
            self.tokens[row, : len(prefix)] = torch.tensor(prefix)
        self.real = torch.arange(self.tokens.shape[1])[None] < self.length[:, None]
        self._keeping = {cache_argument(model.model.base_model): DynamicCache(config=model.model.config)}

    def first(self) -> NDArray[np.float32]:
        """Log-probabilities (rows, 1, K) of the first code."""
        device = self.model.device
        done = self.model.model.base_model(
            input_ids=self.tokens.to(device),
            **self._keeping,
            use_cache=self.model.names.levels > 1,
        )
        last = done.last_hidden_state[torch.arange(self.rows), self.length - 1]
        return _numpy(self.model.log_probs(last[:, None], 0))

    def append(self, beams: Beams, codes: Ints, depth: int) -> NDArray[np.float32]:
        """Log-probabilities (rows, width, K) of the next code behind each beam's newest, code `depth` - 1."""
        device = self.model.device
        tokens = torch.full((self.rows, self.width), self.model.start)
        tokens[beams.user, beams.slot] = self.model.level_ids[depth - 1][torch.from_numpy(codes)]
        seen = torch.zeros(self.rows, self.width, self.tokens.shape[1] + self.width * depth, dtype=torch.bool)
        seen[:, :, : self.tokens.shape[1]] = self.real[:, None]
        # The cache holds `width` places of each level behind the history; path[:, 0] is the root's slot.
        for level in range(1, depth):
            column = self.tokens.shape[1] + self.width * (level - 1) + beams.path[:, level]
            seen[beams.user, beams.slot, column] = True
        own = self.tokens.shape[1] + self.width * (depth - 1) + torch.arange(self.width)
        seen[:, torch.arange(self.width), own] = True
        done = self.model.model.base_model(
            input_ids=tokens.to(device),
            attention_mask=_additive(seen[:, None]).to(device),
            position_ids=(self.length[:, None] + depth - 1).expand(self.rows, self.width).to(device),
            **self._keeping,
            use_cache=True,
        )
        return _numpy(self.model.log_probs(done.last_hidden_state, depth))


def _additive(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape).masked_fill_(~seen, torch.finfo(torch.float32).min)


def _numpy(values: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.float().cpu().numpy()
    return found
