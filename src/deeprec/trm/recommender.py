"""Recommenders that need no policy: any Retriever, asked without a preference or with one made by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.methods import TRM
from deeprec.recommender import Recommendation
from deeprec.trm.base import Retrieval, Retriever
from deeprec.trm.periods import month_phrase
from deeprec.types import Example

_USERS_PER_CALL = 256
# Scores closer than this share of the row's largest could change places in another batch: float32
# products of other shapes differ by some 1e-6 of it (MovieLens-1M), where a few users in a hundred are so close.
_NEAR = 3e-5

Ask = Callable[[Example], str | None]


class TRMRecommender:
    """The plain ranking of a Retriever: the TRM, or popularity behind the same contract.

    Items that the data set excludes for a user (the history, unless repeats are allowed) are
    left out. `ask` makes a preference of what is known of a user; None: none is asked for. With
    `dated` it asks for the month of each user's latest item.

    A user's ranking does not depend on who else is in the batch: one whose scores nearly tie is
    ranked again alone.
    """

    def __init__(
        self,
        retriever: Retriever,
        dataset: Dataset,
        name: str = TRM,
        *,
        dated: bool = False,
        ask: Ask | None = None,
    ) -> None:
        self.retriever = retriever
        self.dataset = dataset
        self._name = name
        self._ask = latest_month if dated else ask

    @property
    def name(self) -> str:
        """Short name used in tables."""
        return self._name

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example, in order. Raises RetrievalError for k beyond the catalogue."""
        found: list[Recommendation] = []
        for start in range(0, len(examples), _USERS_PER_CALL):
            for row in self._rank(examples[start : start + _USERS_PER_CALL], k):
                found.append(Recommendation(tuple(int(i) for i in row), self._name))
        return found

    def _rank(self, batch: Sequence[Example], k: int) -> NDArray[np.int64]:
        """Items (B, k)."""
        # One more than is shown, since the last one shown may nearly tie with the next.
        left = self.retriever.n_items - max(len(self.dataset.exclusions(example)) for example in batch)
        items, scores = self._retrieve(batch, k + 1 if k < left else k)
        items = items[:, :k].copy()
        if len(batch) > 1:
            close = near_ties(scores) if k < left else np.ones(len(batch), np.bool_)
            for row in np.flatnonzero(close).tolist():
                items[row] = self._retrieve([batch[row]], k).item_indices[0]
        return items

    def _retrieve(self, batch: Sequence[Example], k: int) -> Retrieval:
        preferences = None if self._ask is None else [self._ask(example) for example in batch]
        excluded = [self.dataset.exclusions(example) for example in batch]
        return self.retriever.retrieve([example.history for example in batch], preferences, k, excluded)


def latest_month(example: Example) -> str | None:
    """The month of the user's latest item as a preference; None where times are unknown."""
    return month_phrase(example.timestamps[-1]) if example.timestamps else None


def near_ties(scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Rows (B,) of descending scores (B, K) in which two neighbours are closer than rounding may tell.

    >>> near_ties(np.array([[3.0, 2.0, 1.0], [3.0, 2.00001, 2.0]], np.float32)).tolist()
    [False, True]
    """
    gaps = scores[:, :-1] - scores[:, 1:]
    close: NDArray[np.bool_] = (gaps <= _NEAR * np.abs(scores).max(axis=1, keepdims=True)).any(axis=1)
    return close
