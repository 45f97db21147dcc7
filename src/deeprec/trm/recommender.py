"""Recommenders that need no policy: any Retriever, asked without a preference or with one made by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from deeprec.data.dataset import Dataset
from deeprec.methods import TRM
from deeprec.recommender import Recommendation
from deeprec.trm.base import Retriever
from deeprec.trm.left import Found, check_size, retrieve_left
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
        """The top k of each example, in order; all that are left where those are fewer.

        Raises RetrievalError for k beyond the catalogue.
        """
        check_size(k, self.retriever.n_items)
        found: list[Recommendation] = []
        for start in range(0, len(examples), _USERS_PER_CALL):
            rankings = self._rank(examples[start : start + _USERS_PER_CALL], k)
            found += [Recommendation(ranking, self._name) for ranking in rankings]
        return found

    def _rank(self, batch: Sequence[Example], k: int) -> list[tuple[int, ...]]:
        # One more than is shown, since the last one shown may nearly tie with the next.
        together = self._retrieve(batch, k + 1)
        return [
            one.items[:k]
            if len(batch) == 1 or (len(one.items) > k and not near_ties(one.scores))
            else self._retrieve([example], k)[0].items
            for example, one in zip(batch, together, strict=True)
        ]

    def _retrieve(self, batch: Sequence[Example], k: int) -> list[Found]:
        preferences = None if self._ask is None else [self._ask(example) for example in batch]
        excluded = [self.dataset.exclusions(example) for example in batch]
        histories = [example.history for example in batch]
        return retrieve_left(self.retriever, histories, preferences, k, excluded)


def latest_month(example: Example) -> str | None:
    """The month of the user's latest item as a preference; None where times are unknown."""
    return month_phrase(example.timestamps[-1]) if example.timestamps else None


def near_ties(scores: Sequence[float]) -> bool:
    """Whether two neighbours among descending scores are closer than rounding may tell.

    >>> near_ties([3.0, 2.0, 1.0]), near_ties([3.0, 2.00001, 2.0])
    (False, True)
    """
    border = _NEAR * max(map(abs, scores), default=0.0)
    return any(first - second <= border for first, second in pairwise(scores))
