"""Popularity and item-kNN: retrievers that read no text. A preference changes nothing for them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Preferences
from deeprec.trm.ranking import Scored, check_histories, check_preferences

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class Popularity(Scored):
    """Ranks by the number of interactions in the fit part; the same for every history."""

    def __init__(self, counts: NDArray[np.float32]) -> None:
        """`counts` is (n_items + 1,); entry 0 is ignored."""
        self._scores = counts.astype(np.float32)
        self._scores[0] = -np.inf

    @classmethod
    def fit(cls, dataset: Dataset) -> Popularity:
        """Count the fit part."""
        return cls(item_counts(dataset))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._scores) - 1

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Counts, (B, n_items + 1); column 0 is -inf."""
        check_histories(histories, self.n_items)
        check_preferences(preferences, len(histories))
        return np.tile(self._scores, (len(histories), 1))


class ItemKNN(Scored):
    """Items by their summed cosine with the latest items of the history.

    The cosine of two items counts the users who had both in the fit part, shrunk towards
    zero where there are few; each item keeps its nearest neighbours. Later items of the
    history weigh more. Popularity breaks ties, and answers an empty history alone.
    """

    def __init__(
        self, neighbours: csr_matrix, counts: NDArray[np.float32], history: int, decay: float
    ) -> None:
        """`neighbours` is (n_items + 1, n_items + 1), row = item of the history."""
        self._neighbours = neighbours
        self._counts = counts
        self._history = history
        self._decay = decay
        # Less than any neighbour adds: it only orders items that no neighbour tells apart.
        self._prior = (1e-6 * counts / max(1.0, float(counts.max()))).astype(np.float32)

    @classmethod
    def fit(
        cls,
        dataset: Dataset,
        neighbours: int = 100,
        shrink: float = 10.0,
        history: int = 20,
        decay: float = 0.9,
    ) -> ItemKNN:
        """Count which items share users in the fit part."""
        seen = seen_matrix(dataset)
        counts = np.asarray(seen.sum(axis=0)).ravel().astype(np.float32)
        shared = (seen.T @ seen).tocsr()
        return cls(_nearest(shared, counts, neighbours, shrink), item_counts(dataset), history, decay)

    def with_decay(self, decay: float) -> ItemKNN:
        """The same neighbours, read with another weight of older items."""
        return ItemKNN(self._neighbours, self._counts, self._history, decay)

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        from safetensors.numpy import save_file

        near = self._neighbours
        # Contiguous copies: safetensors writes memory as it lies.
        save_file(
            {
                "values": np.ascontiguousarray(near.data, np.float32),
                "columns": np.ascontiguousarray(near.indices, np.int64),
                "ends": np.ascontiguousarray(near.indptr, np.int64),
                "counts": np.ascontiguousarray(self._counts, np.float32),
            },
            str(file),
            metadata={"history": str(self._history), "decay": repr(self._decay)},
        )

    @classmethod
    def load(cls, file: Path, n_items: int) -> ItemKNN:
        """Read what `save` wrote; raises RetrievalError for a broken file or another catalogue."""
        from scipy.sparse import csr_matrix

        tensors, facts = read_tensors(file, n_items, "counts")
        size = n_items + 1
        near = csr_matrix((tensors["values"], tensors["columns"], tensors["ends"]), shape=(size, size))
        return cls(near, tensors["counts"], int(facts["history"]), float(facts["decay"]))

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self._counts) - 1

    def score(self, histories: Histories, preferences: Preferences | None = None) -> NDArray[np.float32]:
        """Summed similarities plus a tiny popularity term, (B, n_items + 1); column 0 is -inf."""
        check_histories(histories, self.n_items)
        check_preferences(preferences, len(histories))
        # Older items weigh next to nothing: they would cost time alone.
        recent = recency_matrix([items[-self._history :] for items in histories], self.n_items, self._decay)
        scores: NDArray[np.float32] = np.asarray((recent @ self._neighbours).todense(), dtype=np.float32)
        scores = scores + self._prior
        scores[:, 0] = -np.inf
        return scores


def seen_matrix(dataset: Dataset) -> csr_matrix:
    """Which user of the fit part had which item: ones, (U, n_items + 1)."""
    from scipy.sparse import csr_matrix

    histories = [sorted(set(example.history)) for example in dataset.fit_histories()]
    rows = np.repeat(np.arange(len(histories)), [len(items) for items in histories])
    columns = np.concatenate([np.asarray(items, dtype=np.int64) for items in histories])
    shape = (len(histories), dataset.catalog.n_items + 1)
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)


def recency_matrix(histories: Histories, n_items: int, decay: float) -> csr_matrix:
    """Histories as weights (B, n_items + 1): decay ** age, 1 for the latest item; repeats add up."""
    from scipy.sparse import csr_matrix

    sizes = np.fromiter(map(len, histories), dtype=np.int64, count=len(histories))
    items = np.fromiter((item for row in histories for item in row), np.int64, int(sizes.sum()))
    rows = np.repeat(np.arange(len(histories)), sizes)
    ages = np.repeat(np.cumsum(sizes), sizes) - 1 - np.arange(len(items))
    weights = np.power(decay, ages).astype(np.float32)
    return csr_matrix((weights, (rows, items)), shape=(len(histories), n_items + 1))


def read_tensors(
    file: Path, n_items: int, sized: str
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """Arrays and facts of a baseline's file.

    Raises RetrievalError where it is broken or the array `sized` is not n_items + 1 long.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework="numpy") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            facts: dict[str, str] = stored.metadata() or {}
        rows = len(tensors[sized])
    except (OSError, SafetensorError, KeyError) as error:
        raise RetrievalError(f"{file}: not readable ({error}); fit it again") from None
    if rows != n_items + 1:
        raise RetrievalError(
            f"{file}: fitted on a catalogue of {rows - 1} items, not {n_items}; fit it again"
        )
    return tensors, facts


def item_counts(dataset: Dataset) -> NDArray[np.float32]:
    """Interactions of each item in the fit part, (n_items + 1,)."""
    counts = np.zeros(dataset.catalog.n_items + 1, dtype=np.float32)
    for item, count in Counter(item for user in dataset.fit_histories() for item in user.history).items():
        counts[item] = count
    return counts


def _nearest(shared: csr_matrix, counts: NDArray[np.float32], neighbours: int, shrink: float) -> csr_matrix:
    """Shrunk cosines (I, I) of co-occurrence counts, the largest of each row; ties by index."""
    from scipy.sparse import csr_matrix

    ends, columns, values = [0], [], []
    for item in range(shared.shape[0]):
        part = slice(shared.indptr[item], shared.indptr[item + 1])
        others, both = shared.indices[part], shared.data[part]
        cosine = both / (np.sqrt(counts[item] * counts[others]) + shrink)
        cosine[others == item] = 0
        best = np.lexsort((others, -cosine))[:neighbours]
        best = best[cosine[best] > 0]
        columns.append(others[best])
        values.append(cosine[best])
        ends.append(ends[-1] + len(best))
    data = np.concatenate(values).astype(np.float32)
    return csr_matrix((data, np.concatenate(columns), np.array(ends)), shape=shared.shape)
