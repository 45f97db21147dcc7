"""Ranking metrics on item indices, for one target per user.

The only definition of Recall@k, NDCG@k and MRR in the project. With a single relevant item
the ideal DCG is 1, so NDCG@k is 1 / log2(rank + 1) for a target within the first k, and
Recall@k is the hit rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import EvaluationError

CUT = 10  # K of the method: every metric, MRR too, reads this many items of a ranking
RECALL_KS = (1, 5, 10)
NDCG_KS = (5, 10)
RANKING_METRICS = (*(f"recall@{k}" for k in RECALL_KS), *(f"ndcg@{k}" for k in NDCG_KS), "mrr")

Rankings = Sequence[Sequence[int]] | NDArray[np.integer]
Ranks = NDArray[np.int64]


def ranks_in_lists(rankings: Rankings, targets: Sequence[int], cut: int = CUT) -> Ranks:
    """Rank (U,) of each target, 1 at the best place; 0 where it is not within the first `cut`.

    Rankings may be ragged, empty (a miss), padded with 0, and may repeat items: padding is
    skipped and a repeated item holds its first place only, so that later items move up.
    Raises EvaluationError for a target that is no item, or when the lengths differ.

    >>> ranks_in_lists([[4, 4, 7], [], [0, 9]], [7, 7, 9]).tolist()
    [2, 0, 1]
    """
    if len(rankings) != len(targets):
        raise EvaluationError(
            f"{len(rankings)} rankings for {len(targets)} targets; give one ranking per target"
        )
    ranks = np.zeros(len(targets), dtype=np.int64)
    for user, (ranking, target) in enumerate(zip(rankings, targets, strict=True)):
        if target < 1:
            raise EvaluationError(
                f"target {target} of user number {user} is not an item index (they start at 1)"
            )
        distinct = [item for item in dict.fromkeys(int(item) for item in ranking) if item != 0][:cut]
        if target in distinct:
            ranks[user] = distinct.index(target) + 1
    return ranks


def recall(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """Recall@k (U,): 1 where the target is among the first k."""
    return ((ranks > 0) & (ranks <= k)).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """NDCG@k (U,) with one relevant item: 1 / log2(rank + 1) within the first k, else 0."""
    return np.where((ranks > 0) & (ranks <= k), 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)


def reciprocal_rank(ranks: Ranks) -> NDArray[np.float64]:
    """1 / rank (U,), 0 for a miss; the cut-off is the one that made the ranks."""
    return np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)


def ranking_metrics(
    rankings: Rankings,
    targets: Sequence[int],
    ks: Sequence[int] = RECALL_KS,
    cut: int = CUT,
) -> dict[str, NDArray[np.float64]]:
    """Every metric per user: `recall@k` for each k, `ndcg@k` for each k > 1, and `mrr`.

    (NDCG@1 equals Recall@1.) MRR is over the first `cut` items, the same for every method,
    so that a method with long lists gains nothing. All values (U,) lie in [0, 1].

    >>> {name: float(value[0].round(4)) for name, value in ranking_metrics([[3, 8, 5]], [8]).items()}
    {'recall@1': 0.0, 'recall@5': 1.0, 'recall@10': 1.0, 'ndcg@5': 0.6309, 'ndcg@10': 0.6309, 'mrr': 0.5}
    """
    if not ks or min(ks) < 1 or max(ks) > cut:
        raise EvaluationError(f"ks = {tuple(ks)}: each must lie between 1 and the cut-off {cut}")
    ranks = ranks_in_lists(rankings, targets, cut)
    metrics = {f"recall@{k}": recall(ranks, k) for k in ks}
    metrics |= {f"ndcg@{k}": ndcg(ranks, k) for k in ks if k > 1}
    return metrics | {"mrr": reciprocal_rank(ranks)}


def means(per_user: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Mean over all users of each metric; raises EvaluationError when there is no user."""
    for name, values in per_user.items():
        if not len(values):
            raise EvaluationError(f"no users to take the mean of '{name}' over")
    return {name: float(np.mean(values)) for name, values in per_user.items()}
