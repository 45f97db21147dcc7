"""The TRM's plain list in the reranker's order: what reranking is worth without a policy that asks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.recommender import Recommendation
from deeprec.rollout.answers import log_shares
from deeprec.rollout.lists import ListWriter
from deeprec.trm.base import Retriever
from deeprec.types import Example

_USERS_PER_CALL = 256


class RerankedTRM:
    """One retrieval without a preference, ranked as `rollout.answer = "reranked"` ranks a pool."""

    def __init__(
        self, retriever: Retriever, reader: ListWriter, dataset: Dataset, config: RolloutConfig, name: str
    ) -> None:
        self.name = name
        self._retriever, self._reader, self._dataset, self._config = retriever, reader, dataset, config

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """The top k of each example's `rollout.retrieved` items (k if that is more), in order."""
        found: list[Recommendation] = []
        for start in range(0, len(examples), _USERS_PER_CALL):
            found += self._rank(examples[start : start + _USERS_PER_CALL], k)
        return found

    def _rank(self, batch: Sequence[Example], k: int) -> list[Recommendation]:
        config = self._config
        excluded = [self._dataset.exclusions(example) for example in batch]
        size = max(config.retrieved, k)
        plain = self._retriever.retrieve([example.history for example in batch], None, size, excluded)
        recent = [example.history[-config.reranker_history :] for example in batch]
        likelihoods = self._reader.next_titles(recent, plain.item_indices.tolist())
        found = []
        for items, scores, likelihood in zip(plain.item_indices, plain.scores, likelihoods, strict=True):
            values = np.asarray(log_shares(scores.tolist())) + config.reranker_weight * likelihood
            ranking = items[np.argsort(-values, kind="stable")[:k]]
            found.append(Recommendation(tuple(int(item) for item in ranking), self.name))
        return found
