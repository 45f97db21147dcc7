"""Recommenders that need no policy: any Retriever, asked without a preference."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.data.dataset import Dataset
from deeprec.recommender import Recommendation
from deeprec.trm.base import Retriever
from deeprec.trm.periods import month_phrase
from deeprec.types import Example

_USERS_PER_CALL = 256


class TRMRecommender:
    """The plain ranking of a Retriever: the TRM, or popularity behind the same contract.

    Items that the data set excludes for a user (the history, unless repeats are allowed) are
    left out. With `dated` it is asked for the month of each user's latest item.
    """

    def __init__(
        self, retriever: Retriever, dataset: Dataset, name: str = "trm", *, dated: bool = False
    ) -> None:
        self._dated = dated
        self.retriever = retriever
        self.dataset = dataset
        self._name = name

    @property
    def name(self) -> str:
        """Short name used in tables."""
        return self._name

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example, in order. Raises RetrievalError for k beyond the catalogue."""
        found: list[Recommendation] = []
        for start in range(0, len(examples), _USERS_PER_CALL):
            batch = examples[start : start + _USERS_PER_CALL]
            excluded = [self.dataset.exclusions(example) for example in batch]
            preferences = None
            if self._dated:
                preferences = [month_phrase(e.timestamps[-1]) if e.timestamps else None for e in batch]
            items = self.retriever.retrieve([e.history for e in batch], preferences, k, excluded).item_indices
            found += [Recommendation(tuple(int(i) for i in row), self._name) for row in items]
        return found


class PopularityRecommender(TRMRecommender):
    """Ranks by a popularity Retriever fitted on the `fit` part: the floor of every table."""

    def __init__(self, retriever: Retriever, dataset: Dataset, name: str = "popularity") -> None:
        super().__init__(retriever, dataset, name)
