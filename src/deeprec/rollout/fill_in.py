"""From trajectories to an answer: several lists merged, and the TRM where the policy leaves a gap."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deeprec.data.dataset import Dataset
from deeprec.methods import TRM
from deeprec.recommender import Recommendation
from deeprec.trm.base import Retriever
from deeprec.types import Example, Trajectory, Turn


def final_answer(
    name: str,
    example: Example,
    trajectories: Sequence[Trajectory],
    k: int,
    dataset: Dataset,
    retriever: Retriever | None,
    asked: str | None = None,
) -> Recommendation:
    """The k first items that a user's trajectories list, without those that the data set excludes.

    With a `retriever` its ranking goes on where the policy failed or its list is short, for the preference `asked`,
    and the answer says so; without one a failure stays a short list.
    """
    valid = [trajectory for trajectory in trajectories if trajectory.is_valid]
    trajectory = valid[0] if valid else trajectories[0]
    excluded = set(dataset.exclusions(example))
    listed = merge_rankings([found.ranking for found in valid])
    ranking = tuple(item for item in listed if item not in excluded)[:k]
    reason = None if trajectory.is_valid else _reason(trajectory)
    answer = Recommendation(ranking, name, reason, trajectory)
    if len(ranking) == k or retriever is None:
        return answer
    (rest,) = fill_gaps([Gap(example, k, ranking, asked)], dataset, retriever)
    return filled(answer, k, rest)


def preferences_of(turns: Iterable[Turn]) -> tuple[str, ...]:
    """What was asked for, in order."""
    return tuple(turn.preference for turn in turns)


def filled(answer: Recommendation, k: int, rest: tuple[int, ...]) -> Recommendation:
    """A short answer of the policy, with `rest` of the TRM behind it, and why."""
    reason = answer.reason or f"the list holds {len(answer.ranking)} of {k} items"
    source = answer.source if answer.ranking else TRM
    return replace(answer, ranking=answer.ranking + rest, source=source, reason=reason)


@dataclass(frozen=True)
class Gap:
    """A ranking of k items that begins with those `taken`; the TRM goes on, for the preference `asked`."""

    example: Example
    k: int
    taken: tuple[int, ...] = ()
    asked: str | None = None


def fill_gaps(gaps: Sequence[Gap], dataset: Dataset, retriever: Retriever) -> list[tuple[int, ...]]:
    """The TRM's best items besides those taken, as many as make k with them; fewer where the catalogue ends.

    One call serves all, but for users who know nearly the whole catalogue.
    """
    asked = [gap.asked for gap in gaps]
    excluded = [(*dataset.exclusions(gap.example), *gap.taken) for gap in gaps]
    left = [dataset.catalog.n_items - len(set(items)) for items in excluded]
    missing = [min(gap.k - len(gap.taken), most) for gap, most in zip(gaps, left, strict=True)]
    found: list[tuple[int, ...]] = [()] * len(gaps)
    # Who has few items left is asked for alone: one call gives everybody the same number.
    together = [place for place, most in enumerate(left) if most >= max(missing)]
    alone = [[place] for place, most in enumerate(left) if most < max(missing)]
    for places in (together, *alone):
        size = max((missing[place] for place in places), default=0)
        if size <= 0:
            continue
        lists = retriever.retrieve(
            [gaps[place].example.history for place in places],
            [asked[place] for place in places] if any(asked) else None,
            k=size,
            exclude=[excluded[place] for place in places],
        )
        for place, items in zip(places, lists.item_indices, strict=True):
            found[place] = tuple(int(item) for item in items[: max(0, missing[place])])
    return found


def merge_rankings(rankings: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """One ranking of several: by the sum over rankings of 1 / rank, equals by where they come first.

    >>> merge_rankings([(1, 2, 3), (2, 1, 4), (2, 5, 1)])
    (2, 1, 5, 3, 4)
    """
    votes: dict[int, float] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            votes[item] = votes.get(item, 0.0) + 1 / place
    return tuple(sorted(votes, key=lambda item: -votes[item]))


def _reason(trajectory: Trajectory) -> str:
    if trajectory.format_errors:
        return f"{trajectory.stop_reason}: {'; '.join(trajectory.format_errors)}"
    return str(trajectory.stop_reason)
