"""As many items as are left: who knows nearly the whole catalogue gets a shorter list, and others all of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences, Retrieval, Retriever
from deeprec.trm.ranking import top_items


class Found(NamedTuple):
    """What one request found: at most k items, best first, and their scores."""

    items: tuple[int, ...]
    scores: tuple[float, ...]


def check_size(k: int, n_items: int) -> None:
    """Raise RetrievalError for a list that no user could get."""
    if not 1 <= k <= n_items:
        raise RetrievalError(f"k = {k}: choose from 1 to the {n_items} items of the catalogue")


def sizes_left(k: int, n_items: int, exclude: Histories) -> list[int]:
    """How many of k items each request can get, given what it excludes.

    >>> sizes_left(3, 5, [(), (1, 2, 2), (1, 2, 3, 4, 5)])
    [3, 3, 0]
    """
    return [min(k, n_items - len(set(items))) for items in exclude]


def retrieve_left(
    retriever: Retriever, histories: Histories, preferences: Preferences | None, k: int, exclude: Histories
) -> list[Found]:
    """The k best items of each request, in order; all that are left where those are fewer, or none.

    One call serves all who get equally many.
    """

    def ask(places: Sequence[int], size: int) -> Retrieval:
        return retriever.retrieve(
            [histories[place] for place in places],
            None if preferences is None else [preferences[place] for place in places],
            size,
            [exclude[place] for place in places],
        )

    return _by_size(sizes_left(k, retriever.n_items, exclude), ask)


def top_left(scores: NDArray[np.float32], k: int, exclude: Histories) -> list[Found]:
    """The k best columns of each row of `scores` (B, n_items + 1); all that are left where those are fewer."""

    def ask(places: Sequence[int], size: int) -> Retrieval:
        return top_items(scores[list(places)], size, [exclude[place] for place in places])

    return _by_size(sizes_left(k, scores.shape[1] - 1, exclude), ask)


def _by_size(sizes: Sequence[int], ask: Callable[[Sequence[int], int], Retrieval]) -> list[Found]:
    found = [Found((), ())] * len(sizes)
    for size in sorted(set(sizes) - {0}):
        places = [place for place, own in enumerate(sizes) if own == size]
        for place, one in zip(places, _rows(ask(places, size)), strict=True):
            found[place] = one
    return found


def _rows(retrieval: Retrieval) -> Iterator[Found]:
    for items, scores in zip(retrieval.item_indices.tolist(), retrieval.scores.tolist(), strict=True):
        yield Found(tuple(items), tuple(scores))
