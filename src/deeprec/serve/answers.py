"""From a recommendation to what clients get: ranks, turns, and where each item was found."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deeprec.data.catalog import Catalog
from deeprec.methods import TRM
from deeprec.recommender import Recommendation
from deeprec.serve.bodies import Found, ItemGiven, RankedItem, RecommendationAnswer, RetrievedItem, TurnGiven
from deeprec.types import Turn


def answer_of(
    found: Recommendation,
    turns: Sequence[Turn],
    listed: Collection[int],
    catalog: Catalog,
    *,
    request_id: str,
    run: str,
    seconds: float,
    tokens: int,
) -> RecommendationAnswer:
    """The answer with the turns that led to it; `listed` are the items that the policy's lists hold.

    Where several trajectories were merged, the turns are those of the first valid one, and
    items that only others retrieved have no place in them.
    """
    places: dict[int, Found] = {}
    for number, turn in enumerate(turns, 1):
        for place, item in enumerate(turn.retrieved, 1):
            places.setdefault(item, Found(turn=number, place=place))
    trajectory = found.trajectory
    return RecommendationAnswer(
        request_id=request_id,
        run=run,
        source="trm" if found.source == TRM else "deeprec",
        reason=found.reason,
        stop_reason=None if trajectory is None else str(trajectory.stop_reason),
        items=[
            RankedItem(
                rank=rank,
                found=places.get(item) if item in listed else None,
                filled_in=item not in listed,
                **_facts(item, catalog),
            )
            for rank, item in enumerate(found.ranking, 1)
        ],
        turns=turns_given(turns, catalog),
        seconds=round(seconds, 4),
        tokens=tokens,
    )


def turns_given(turns: Sequence[Turn], catalog: Catalog) -> list[TurnGiven]:
    """The turns as clients get them, from the first on."""
    pool: set[int] = set()
    given = []
    for number, turn in enumerate(turns, 1):
        given.append(
            TurnGiven(
                number=number,
                thought=turn.thought,
                preference=turn.preference,
                retrieved=[
                    RetrievedItem(
                        item_id=catalog[item].item_id, title=catalog[item].label, new=item not in pool
                    )
                    for item in turn.retrieved
                ],
            )
        )
        pool.update(turn.retrieved)
    return given


def item_given(item: int, catalog: Catalog) -> ItemGiven:
    """A catalogue entry as clients get it."""
    return ItemGiven(**_facts(item, catalog))


def _facts(item: int, catalog: Catalog) -> dict[str, object]:
    entry = catalog[item]
    return {
        "item_id": entry.item_id,
        "title": entry.label,
        "categories": list(entry.categories),
        "year": entry.year,
    }
