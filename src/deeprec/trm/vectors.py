"""Precomputed vectors of items, and of users, as a Retriever."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences, Retrieval
from deeprec.trm.baselines import item_counts
from deeprec.trm.index import APPROXIMATE_FROM, build_index
from deeprec.trm.ranking import check_histories, check_preferences, top_items
from deeprec.trm.text import unit_rows

_LATEST = 50  # items of a history that stand for a user without a vector
_DECAY = 0.9  # weight of an item against the one after it
_START = 3  # items that users are looked up by


class VectorRetriever:
    """Ranks by the inner product of a user's vector with the items'.

    A history is a user's when it begins with what that user had in the fit part (the longest
    such one counts; what came later is not read). Any other history is answered by the mean of
    its latest items' vectors, later ones weighing more; an empty one, or one of items without
    vectors, by popularity. An item without a vector scores like an average one: a preference
    moves it up (see TextSteered), a history doesn't.
    """

    def __init__(
        self,
        items: NDArray[np.float32],
        counts: NDArray[np.float32],
        users: Mapping[tuple[int, ...], NDArray[np.float32]] | None = None,
        large: int = APPROXIMATE_FROM,
    ) -> None:
        """`items` is (n_items + 1, D), zero rows have no vector; `users` maps fit histories to vectors (D,).

        `counts` (n_items + 1,) is popularity. From `large` items on the search is approximate
        where faiss is installed.
        """
        self._vectors = items
        self._has = np.any(items != 0, axis=1)
        filled = items.copy()
        # The average item: zeros would rank above all that a user dislikes.
        filled[~self._has] = items[self._has].mean(axis=0)
        self._index = build_index(filled, large=large)
        self._popular = counts.astype(np.float32)
        self._popular[0] = -np.inf
        self._users = dict(users or {})
        self._starts: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
        # Longest first: of two users one of whom had more of the same, the one who fits better.
        for history in sorted(self._users, key=len, reverse=True):
            self._starts.setdefault(history[:_START], []).append(history)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._vectors) - 1

    def item_vectors(self) -> NDArray[np.float32]:
        """Unit-length vectors (n_items + 1, D); zero rows for items without one."""
        return unit_rows(self._vectors)

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Inner products, or popularity where nothing is known; (B, n_items + 1)."""
        rows, queries = self._queries(histories, preferences)
        scores = np.tile(self._popular, (len(histories), 1))
        scores[rows] = self._index.score(queries)
        return scores

    def retrieve(
        self,
        histories: Histories,
        preferences: Preferences | None = None,
        k: int = 20,
        exclude: Histories | None = None,
    ) -> Retrieval:
        """Top k items per history; see the Retriever contract."""
        rows, queries = self._queries(histories, preferences)
        if len(rows) == len(histories):
            return self._index.search(queries, k, exclude)
        # What is refused is refused with the rows' own numbers: popularity is asked about all of them.
        found = top_items(np.tile(self._popular, (len(histories), 1)), k, exclude)
        part = None if exclude is None else [exclude[row] for row in rows]
        found.item_indices[rows], found.scores[rows] = self._index.search(queries, k, part)
        return found

    def _queries(
        self, histories: Histories, preferences: Preferences | None
    ) -> tuple[list[int], NDArray[np.float32]]:
        """The rows that have a query, and their queries (R, D)."""
        check_histories(histories, self.n_items)
        check_preferences(preferences, len(histories))
        found = {row: self._query(tuple(items)) for row, items in enumerate(histories)}
        rows = [row for row, query in found.items() if query is not None]
        queries = [query for query in found.values() if query is not None]
        width = self._vectors.shape[1]
        return rows, np.array(queries, dtype=np.float32).reshape(len(rows), width)

    def _query(self, history: tuple[int, ...]) -> NDArray[np.float32] | None:
        for length in range(min(_START, len(history)), 0, -1):
            for known in self._starts.get(history[:length], ()):
                if history[: len(known)] == known:
                    return self._users[known]
        items = [item for item in history[-_LATEST:] if self._has[item]]
        if not items:
            return None
        weights = _DECAY ** np.arange(len(items) - 1, -1, -1)
        query: NDArray[np.float32] = (weights @ self._vectors[items] / weights.sum()).astype(np.float32)
        return query


def load_vectors(folder: Path, dataset: Dataset, large: int = APPROXIMATE_FROM) -> VectorRetriever:
    """Read `items.parquet` (`item_id`, `vector`) and, if it is there, `users.parquet` (`user_id`, `vector`).

    Users' vectors must be computed on the fit part alone. Two users with the same fit history
    share the mean of their vectors. Raises RetrievalError naming file and id for what is
    missing, unknown, listed twice, of another width, zero, or not finite.
    """
    catalog = dataset.catalog
    found = _read(folder / "items.parquet", "item_id", lambda item: catalog.index_of(item) is not None)
    width = len(next(iter(found.values())))
    items = np.zeros((catalog.n_items + 1, width), dtype=np.float32)
    for item_id, vector in found.items():
        items[catalog.index_of(item_id) or 0] = vector
    users: dict[tuple[int, ...], list[NDArray[np.float32]]] = {}
    file = folder / "users.parquet"
    if file.is_file():
        histories = {example.user_id: example.history for example in dataset.fit_histories()}
        for user_id, vector in _read(file, "user_id", lambda user: user in histories, width).items():
            if histories[user_id]:
                users.setdefault(histories[user_id], []).append(vector)
    means = {history: np.mean(vectors, axis=0) for history, vectors in users.items()}
    return VectorRetriever(items, item_counts(dataset), means, large)


def _read(
    file: Path, column: str, is_known: Callable[[str], bool], width: int | None = None
) -> dict[str, NDArray[np.float32]]:
    """Vectors by id, checked; `width` is what they must have, None for the first one's."""
    try:
        frame = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise RetrievalError(
            f"{file}: can't be read ({reason}); write it with columns {column}, vector"
        ) from None
    missing = {column, "vector"} - set(frame.columns)
    if missing or not len(frame):
        lacks = f"no column '{min(missing)}'" if missing else "no rows"
        raise RetrievalError(f"{file}: {lacks}; columns {column} and vector (a list of numbers) are needed")
    ids = [str(value) for value in frame[column].to_list()]
    _refuse(file, "are unknown to the data set; leave them out", [i for i in ids if not is_known(i)])
    _refuse(
        file,
        "are listed twice",
        [i for i, twice in zip(ids, frame[column].is_duplicated(), strict=True) if twice],
    )
    lists = frame["vector"].to_list()
    if not all(isinstance(vector, list) for vector in lists):
        raise RetrievalError(
            f"{file}: column 'vector' is {frame['vector'].dtype}; it must hold lists of numbers"
        )
    size = len(lists[0]) if width is None else width
    wrong = [i for i, vector in zip(ids, lists, strict=True) if len(vector) != size or not size]
    _refuse(file, f"have vectors of another width than {size}", wrong)
    matrix = np.array(lists, dtype=np.float32)  # None becomes nan
    _refuse(
        file,
        "have values that are not finite",
        [i for i, row in zip(ids, matrix, strict=True) if not np.isfinite(row).all()],
    )
    _refuse(
        file,
        "have a zero vector; leave them out",
        [i for i, row in zip(ids, matrix, strict=True) if not row.any()],
    )
    return dict(zip(ids, matrix, strict=True))


def _refuse(file: Path, what: str, ids: Sequence[str]) -> None:
    if ids:
        shown = ", ".join(f"'{name}'" for name in ids[:3]) + (", ..." if len(ids) > 3 else "")
        raise RetrievalError(f"{file}: {len(ids)} ids {what}: {shown}")
