"""The TRM's plain list in the order of TRM and title likelihoods: what a second opinion is worth without asking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.recommender import Recommendation
from deeprec.rollout.retrieval import log_shares
from deeprec.rollout.title_likelihoods import Ids, Likelihoods
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.base import Retriever
from deeprec.trm.left import check_size, retrieve_left
from deeprec.trm.recommender import Ask
from deeprec.types import Example

_USERS_PER_CALL = 256


class RerankedTRM:
    """One retrieval without a preference, ranked by the product of two probabilities.

    The item's share in the softmax of the TRM's scores, times the likelihood of its title right
    behind the bare history, by a policy that has read histories and not learned to speak yet.
    """

    def __init__(
        self,
        retriever: Retriever,
        likelihoods: Likelihoods,
        titles: TitleTexts,
        dataset: Dataset,
        config: RolloutConfig,
        name: str,
        ask: Ask | None = None,
    ) -> None:
        """`ask` makes a preference of what is known of a user; None: none is asked for."""
        self.name, self._ask = name, ask
        self._retriever, self._likelihoods, self._titles = retriever, likelihoods, titles
        self._dataset, self._config = dataset, config

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example's `rollout.retrieved` items (k if that is more); all that are left if fewer.

        Raises RetrievalError for k beyond the catalogue.
        """
        check_size(k, self._dataset.catalog.n_items)
        found: list[Recommendation] = []
        for start in range(0, len(examples), _USERS_PER_CALL):
            found += self._rank(examples[start : start + _USERS_PER_CALL], k)
        return found

    def _rank(self, batch: Sequence[Example], k: int) -> list[Recommendation]:
        config = self._config
        excluded = [self._dataset.exclusions(example) for example in batch]
        size = max(config.retrieved, k)
        asked = None if self._ask is None else [self._ask(example) for example in batch]
        plain = retrieve_left(self._retriever, [example.history for example in batch], asked, size, excluded)
        found = self._likelihoods.behind(
            [self._row(example, one.items) for example, one in zip(batch, plain, strict=True)]
        )
        ranked = []
        for one, likelihood in zip(plain, found, strict=True):
            order = np.argsort(-(np.asarray(log_shares(one.scores)) + likelihood), kind="stable")[:k]
            ranked.append(Recommendation(tuple(one.items[place] for place in order), self.name))
        return ranked

    def _row(self, example: Example, items: Sequence[int]) -> tuple[Ids, list[Ids]]:
        """What is read, as many of the latest titles as the policy has positions for, and what may come next."""
        titles = [self._titles.title(item) for item in items]
        most = self._likelihoods.context_length
        room = None if most is None else most - max(map(len, titles), default=0)
        return self._titles.latest(example.history[-self._config.list_history :], room), titles
