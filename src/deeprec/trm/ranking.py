"""What all retrievers share: checks of what they are asked, top k, and ranks of targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences, Retrieval, Retriever
from deeprec.trm.topk import ItemLists, best_items
from deeprec.types import Example

MAX_PREFERENCE = 2_000  # characters; longer text is a runaway generation, not a preference


class Scored:
    """`retrieve` and `item_vectors` for a retriever that scores the whole catalogue and has no vectors."""

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Scores of all items, (B, n_items + 1); column 0 is -inf."""
        raise NotImplementedError

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history; see the Retriever contract."""
        return top_items(self.score(histories, preferences), k, exclude)

    def item_vectors(self) -> NDArray[np.float32] | None:
        """None: there are none."""
        return None


def check_histories(histories: Histories, n_items: int) -> None:
    """Raise RetrievalError for an item index that is not in the catalogue (0 included)."""
    ItemLists(histories, n_items, "history")


def check_preferences(preferences: Preferences | None, count: int) -> list[str | None]:
    """The preferences, stripped, with None for blank ones; one for each of `count` histories.

    Raises RetrievalError when their number is wrong or one is longer than MAX_PREFERENCE.
    """
    if preferences is None:
        return [None] * count
    if len(preferences) != count:
        raise RetrievalError(
            f"{len(preferences)} preferences for {count} histories; give one each, None for none"
        )
    for row, text in enumerate(preferences):
        if text is not None and len(text) > MAX_PREFERENCE:
            raise RetrievalError(
                f"preference {row} has {len(text)} characters, more than {MAX_PREFERENCE}; "
                f"shorten it: '{text[:40]}...'"
            )
    return [(text.strip() or None) if text is not None else None for text in preferences]


def top_items(scores: NDArray[np.float32], k: int, exclude: Histories | None = None) -> Retrieval:
    """The k best columns of each row of `scores` (B, n_items + 1), best first, ties by index.

    Column 0 and what `exclude` lists for the row are never returned. Raises RetrievalError
    if k is not between 1 and what is left of the catalogue, or a score is not a number.
    """

    def block(rows: slice, columns: slice) -> NDArray[np.float32]:
        return np.array(scores[rows, columns], dtype=np.float32, order="C")  # a copy: it is written to

    return best_items(block, len(scores), scores.shape[1] - 1, k, exclude)


def catalogue_ranks(
    retriever: Retriever,
    examples: Sequence[Example],
    preferences: Preferences | None = None,
    *,
    dataset: Dataset,
    users_per_batch: int = 512,
) -> NDArray[np.int64]:
    """Rank of each example's target in the whole catalogue, 1 = best; ties by item index.

    Items that may not be recommended to the user are left out. A target that is one of
    them can't be reached and ranks n_items + 1. Raises RetrievalError for an example
    without a target.
    """
    steer = check_preferences(preferences, len(examples))
    ranks = np.zeros(len(examples), dtype=np.int64)
    for start in range(0, len(examples), users_per_batch):
        batch = examples[start : start + users_per_batch]
        targets = np.array([example.target for example in batch], dtype=np.int64)
        if (targets < 1).any():
            raise RetrievalError(
                f"user '{batch[int(targets.argmin())].user_id}': an example without a target"
            )
        scores = retriever.score([example.history for example in batch], steer[start : start + len(batch)])
        excluded = [dataset.exclusions(example) for example in batch]
        ItemLists(excluded, retriever.n_items, "exclusion list")
        for row, items in enumerate(excluded):
            ranks[start + row] = _rank(scores[row].copy(), int(targets[row]), items)
    return ranks


def _rank(scores: NDArray[np.float32], target: int, excluded: Sequence[int]) -> int:
    """Rank of the target among the scores (n_items + 1,) of one user, which are overwritten."""
    scores[0] = -np.inf
    scores[np.asarray(excluded, dtype=np.int64)] = -np.inf
    own = scores[target]
    if not np.isfinite(own):
        return len(scores)
    return 1 + int(np.count_nonzero(scores > own)) + int(np.count_nonzero(scores[:target] == own))
