"""Items that go together: what the same people had, counted in the fit part alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset

NEIGHBOURS = 10  # of an item, at most


class Together:
    """The items that share most users with each item."""

    def __init__(self, dataset: Dataset) -> None:
        self._size = dataset.catalog.n_items + 1
        self._histories = [np.unique(example.history) for example in dataset.fit_histories()]
        self._found: dict[int, tuple[int, ...]] = {}

    def of(self, item: int) -> tuple[int, ...]:
        """Neighbours of an item index by the cosine of who had both, best first; none where nobody had it."""
        if item not in self._found:
            users = self._users.get(item, [])
            theirs = [self._histories[user] for user in users] or [np.zeros(0, dtype=np.int64)]
            counts = np.bincount(np.concatenate(theirs), minlength=self._size)
            counts[item] = 0
            cosines = counts / np.sqrt(np.maximum(self._counts, 1) * max(len(users), 1))
            best = np.argsort(-cosines, kind="stable")[:NEIGHBOURS]
            self._found[item] = tuple(int(one) for one in best if cosines[one] > 0)
        return self._found[item]

    @cached_property
    def _users(self) -> Mapping[int, list[int]]:
        """Who had each item, by place in `_histories`."""
        found: dict[int, list[int]] = {}
        for user, history in enumerate(self._histories):
            for item in history.tolist():
                found.setdefault(item, []).append(user)
        return found

    @cached_property
    def _counts(self) -> NDArray[np.float64]:
        counts = np.zeros(self._size)
        for item, users in self._users.items():
            counts[item] = len(users)
        return counts
