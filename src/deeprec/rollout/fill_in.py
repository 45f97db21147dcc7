"""From trajectories to an answer: several lists merged, and the TRM where the policy leaves a gap."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.data.dataset import Dataset
from deeprec.recommender import Recommendation
from deeprec.trm.base import Retriever
from deeprec.types import Example, Trajectory

TRM = "trm"  # the source of an answer of which the TRM ranked every item


def final_answer(
    name: str,
    example: Example,
    trajectories: Sequence[Trajectory],
    k: int,
    dataset: Dataset,
    retriever: Retriever | None,
) -> Recommendation:
    """The k first items that a user's trajectories list, without those that the data set excludes.

    With a `retriever` its ranking goes on where the policy failed or its list is short, and
    the answer says so; without one a failure stays a short list.
    """
    valid = [trajectory for trajectory in trajectories if trajectory.is_valid]
    trajectory = valid[0] if valid else trajectories[0]
    excluded = set(dataset.exclusions(example))
    listed = merge_rankings([found.ranking for found in valid])
    ranking = tuple(item for item in listed if item not in excluded)[:k]
    if len(ranking) == k or retriever is None:
        reason = None if trajectory.is_valid else _reason(trajectory)
        return Recommendation(ranking, name, reason, trajectory)
    short = f"the list holds {len(ranking)} of {k} items"
    reason = short if trajectory.is_valid else _reason(trajectory)
    filled = ranking + _best_left(example, k, dataset, retriever, ranking)
    return Recommendation(filled, name if ranking else TRM, reason, trajectory)


def trm_answer(
    example: Example, k: int, dataset: Dataset, retriever: Retriever, reason: str | None = None
) -> Recommendation:
    """The TRM's own k best items, or as many as are left; `reason` says why it answers."""
    return Recommendation(_best_left(example, k, dataset, retriever), TRM, reason)


def merge_rankings(rankings: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """One ranking of several: by the sum of reciprocal ranks, equals by where they come first.

    >>> merge_rankings([(1, 2, 3), (2, 1, 4), (2, 5, 1)])
    (2, 1, 5, 3, 4)
    """
    votes: dict[int, float] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            votes[item] = votes.get(item, 0.0) + 1 / place
    return tuple(sorted(votes, key=lambda item: -votes[item]))


def _best_left(
    example: Example, k: int, dataset: Dataset, retriever: Retriever, taken: Sequence[int] = ()
) -> tuple[int, ...]:
    """The TRM's best items besides those `taken`, as many as make k with them; fewer where the catalogue ends."""
    excluded = (*dataset.exclusions(example), *taken)
    missing = min(k - len(taken), dataset.catalog.n_items - len(set(excluded)))
    if missing <= 0:  # the user knows the whole catalogue
        return ()
    found = retriever.retrieve([example.history], k=missing, exclude=[excluded])
    return tuple(int(item) for item in found.item_indices[0])


def _reason(trajectory: Trajectory) -> str:
    if trajectory.format_errors:
        return f"{trajectory.stop_reason}: {'; '.join(trajectory.format_errors)}"
    return str(trajectory.stop_reason)
