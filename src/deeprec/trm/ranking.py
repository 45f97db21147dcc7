"""What all retrievers share: checks of what they are asked, top k, and ranks of targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences, Retrieval, Retriever
from deeprec.types import Example

MAX_PREFERENCE = 2_000  # characters; longer text is a runaway generation, not a preference


def check_histories(histories: Histories, n_items: int) -> None:
    """Raise RetrievalError for an item index that is not in the catalogue (0 included)."""
    _check_indices(histories, n_items, "history")


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
    if k is not between 1 and what is left of the catalogue.
    """
    n_items = scores.shape[1] - 1
    if exclude is not None and len(exclude) != len(scores):
        raise RetrievalError(f"{len(exclude)} exclusion lists for {len(scores)} histories; give one each")
    if k < 1:
        raise RetrievalError(f"k = {k}: must be at least 1")
    if k > n_items:
        raise RetrievalError(f"k = {k}: the catalogue holds {n_items} items; ask for at most that many")
    open_scores = masked_scores(scores, exclude)
    left = np.isfinite(open_scores).sum(axis=1)
    if len(left) and left.min() < k:
        row = int(left.argmin())
        raise RetrievalError(
            f"k = {k}: only {int(left[row])} of {n_items} items are left for history {row} after exclusions; "
            "ask for fewer, or exclude fewer"
        )
    columns = _top_columns(open_scores, k)
    return Retrieval(columns, np.take_along_axis(open_scores, columns, axis=1).astype(np.float32))


def masked_scores(scores: NDArray[np.float32], exclude: Histories | None) -> NDArray[np.float32]:
    """A copy of `scores` with padding and excluded items at -inf."""
    masked = scores.copy()
    masked[:, 0] = -np.inf
    if exclude is not None:
        _check_indices(exclude, scores.shape[1] - 1, "exclusion list")
        for row, items in enumerate(exclude):
            masked[row, np.asarray(items, dtype=np.int64)] = -np.inf
    return masked


def target_ranks(
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
        open_scores = masked_scores(scores, [dataset.exclusions(example) for example in batch])
        ranks[start : start + len(batch)] = _ranks(open_scores, targets)
    return ranks


def _ranks(scores: NDArray[np.float32], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    own = np.take_along_axis(scores, targets[:, None], axis=1)  # (B, 1)
    earlier = np.arange(scores.shape[1])[None, :] < targets[:, None]
    ranks: NDArray[np.int64] = 1 + (scores > own).sum(axis=1) + ((scores == own) & earlier).sum(axis=1)
    ranks[~np.isfinite(own[:, 0])] = scores.shape[1]
    return ranks


def _top_columns(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Columns (B, k) of the k largest scores of each row, best first, equal ones by index."""
    if not len(scores):
        return np.zeros((0, k), dtype=np.int64)
    import torch  # several times faster than numpy at this, but it breaks ties as it likes

    border = torch.from_numpy(scores).topk(k, dim=1).values[:, -1].numpy()
    rows, columns = np.divmod(np.flatnonzero(scores >= border[:, None]), scores.shape[1])
    order = np.lexsort((columns, -scores[rows, columns], rows))
    sizes = np.bincount(rows)
    first = np.cumsum(sizes) - sizes
    picked: NDArray[np.int64] = columns[order][first[:, None] + np.arange(k)].astype(np.int64)
    return picked


def _check_indices(lists: Histories, n_items: int, what: str) -> None:
    for row, items in enumerate(lists):
        if len(items) and not (min(items) >= 1 and max(items) <= n_items):
            wrong = next(item for item in items if not 1 <= item <= n_items)
            raise RetrievalError(f"{what} {row}: item index {wrong} is not between 1 and {n_items}")
