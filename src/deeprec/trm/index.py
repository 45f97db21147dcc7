"""Items by inner product with a query: exact, or approximate where the catalogue is large."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import MissingExtraError, RetrievalError
from deeprec.trm.base import Histories, Retrieval
from deeprec.trm.topk import COLUMNS, ROWS, ItemLists, best_items, check_request, too_few

# A judgement, not a measured crossing: an exact query of so many items takes some 17 ms on two busy cores
# (a quarter of the 68 ms for a million in docs/howto/own-trm.md); below that exactness is worth more than time.
APPROXIMATE_FROM = 250_000

_SAMPLE = 16_384  # items that the codes are learned from
_FETCHED = 512  # candidates that are compared exactly, at least
_WIDER = 8  # and at least so many for each item that is asked for or excluded
_FLOATS = 2**23  # of candidates' vectors in memory at a time: 32 MB


class ItemIndex(Protocol):
    """Finds the items with the largest inner products; the same query finds the same items."""

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        ...

    def score(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products with all items, (B, n_items + 1); column 0 is -inf."""
        ...

    def search(self, queries: NDArray[np.float32], k: int, exclude: Histories | None = None) -> Retrieval:
        """The k best items for each query (B, D), without those in `exclude` (parallel to it).

        Best first, ties by item index. Raises RetrievalError for k beyond what is left of the
        catalogue, an unknown item in `exclude`, or a query that is not a number.
        """
        ...


class ExactIndex:
    """Compares with every item; `score` and `search` agree to the last bit."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """`vectors` is (n_items + 1, D); row 0 is ignored."""
        self.vectors = _checked(vectors)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return len(self.vectors) - 1

    def score(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products with all items, (B, n_items + 1); column 0 is -inf."""
        rows = self.checked(queries)
        scores = np.empty((len(rows), len(self.vectors)), dtype=np.float32)
        for row in range(0, len(rows), ROWS):
            for column in range(0, len(self.vectors), COLUMNS):
                part = scores[row : row + ROWS, column : column + COLUMNS]
                np.matmul(rows[row : row + ROWS], self.vectors[column : column + COLUMNS].T, out=part)
        scores[:, 0] = -np.inf
        return scores

    def search(self, queries: NDArray[np.float32], k: int, exclude: Histories | None = None) -> Retrieval:
        """The k best items for each query; see ItemIndex."""
        rows = self.checked(queries)
        memory = np.empty(min(len(rows), ROWS) * min(len(self.vectors), COLUMNS), dtype=np.float32)

        def block(part: slice, columns: slice) -> NDArray[np.float32]:
            shape = (part.stop - part.start, columns.stop - columns.start)
            scores = memory[: shape[0] * shape[1]].reshape(shape)
            np.matmul(rows[part], self.vectors[columns].T, out=scores)
            return scores

        return best_items(block, len(rows), self.n_items, k, exclude)

    def checked(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """The queries, contiguous; raises RetrievalError for another width, or what is not finite."""
        width = self.vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise RetrievalError(f"queries of shape {queries.shape}: the items need (B, {width})")
        finite = np.isfinite(queries).all(axis=1)
        if not finite.all():
            raise RetrievalError(f"query {int(finite.argmin())} holds a value that is not finite")
        return np.ascontiguousarray(queries, dtype=np.float32)


class ApproximateIndex:
    """Reads codes of four bits a feature, and compares the best few hundred items exactly (faiss).

    Every code is read, so that no query is too far from what it looks for. Rarely an item is
    missed whose code is worse than itself; scores, and the order of what is found, are exact.
    Where too few items would be left after exclusions, all are compared.
    """

    def __init__(self, vectors: NDArray[np.float32], seed: int = 0) -> None:
        """`vectors` is (n_items + 1, D); row 0 is ignored. Raises MissingExtraError without faiss."""
        faiss = _faiss()
        if faiss is None:
            raise MissingExtraError("approximate retrieval", "index")
        self._exact = ExactIndex(vectors)
        self._vectors = self._exact.vectors
        self._codes = _learn_codes(faiss, self._vectors, seed)

    @property
    def n_items(self) -> int:
        """Size of the catalogue."""
        return self._exact.n_items

    def score(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inner products with all items, (B, n_items + 1); column 0 is -inf. Exact."""
        return self._exact.score(queries)

    def search(self, queries: NDArray[np.float32], k: int, exclude: Histories | None = None) -> Retrieval:
        """The k best items found for each query; see ItemIndex."""
        queries = self._exact.checked(queries)
        excluded = check_request(len(queries), self.n_items, k, exclude)
        closed = np.unique(excluded.rows * (self.n_items + 1) + excluded.items)  # one number each
        sizes = np.bincount(closed // (self.n_items + 1), minlength=len(queries))
        if len(sizes) and self.n_items - sizes.max() < k:
            row = int(sizes.argmax())
            raise too_few(k, self.n_items - int(sizes[row]), self.n_items, row)
        found = Retrieval(np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32))
        # Rows of like need are searched together: a power of two, so that there are few kinds.
        fetched = np.maximum(_FETCHED, 1 << np.ceil(np.log2(_WIDER * (sizes + k))).astype(np.int64))
        for fetch in np.unique(fetched).tolist():
            alike = np.flatnonzero(fetched == fetch)
            step = max(1, _FLOATS // (fetch * queries.shape[1]))
            for rows in np.split(alike, range(step, len(alike), step)):
                part = None if exclude is None else [exclude[row] for row in rows]
                # Comparing half of all by codes first costs more than comparing all at once.
                if fetch > self.n_items // 2:
                    nearest = self._exact.search(queries[rows], k, part)
                else:
                    nearest = self._compare(queries[rows], k, fetch, part)
                found.item_indices[rows], found.scores[rows] = nearest
        return found

    def _compare(
        self, queries: NDArray[np.float32], k: int, fetch: int, exclude: Histories | None
    ) -> Retrieval:
        """The k best of the `fetch` items with the best codes, by their exact scores."""
        # Sorted first: then a stable sort by score breaks ties by index, as the exact search does.
        items = np.sort(self._codes.search(queries, fetch)[1] + 1, axis=1)  # (B, fetch), ties by index
        scores = np.einsum("bd,bcd->bc", queries, self._vectors[items])
        if exclude is not None:
            excluded = ItemLists(exclude, self.n_items, "exclusion list")
            row = np.arange(len(items))[:, None] * (self.n_items + 1)
            scores[np.isin(row + items, excluded.rows * (self.n_items + 1) + excluded.items)] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return Retrieval(np.take_along_axis(items, best, 1), np.take_along_axis(scores, best, 1))


def build_index(
    vectors: NDArray[np.float32], *, approximate: bool | None = None, large: int = APPROXIMATE_FROM
) -> ItemIndex:
    """An index over item vectors (n_items + 1, D); row 0 is padding, and never found.

    Vectors need not be of unit length. With `approximate` None the search is approximate from
    `large` items on if faiss is installed, and exact otherwise. Raises MissingExtraError for
    `approximate=True` without faiss, RetrievalError for a vector that is not finite.
    """
    if approximate is None:
        approximate = len(vectors) - 1 >= large and _faiss() is not None
    return ApproximateIndex(vectors) if approximate else ExactIndex(vectors)


def _learn_codes(faiss: Any, vectors: NDArray[np.float32], seed: int) -> Any:
    """A faiss index of four-bit codes, one for each feature after a random turn of the space.

    The turn spreads what few features would hold over all; inner products stay as they are.
    """
    import torch
    from threadpoolctl import threadpool_limits

    faiss.omp_set_num_threads(torch.get_num_threads())  # each brings its own OpenMP, and its own setting
    n_items, width = len(vectors) - 1, vectors.shape[1]
    turn = faiss.RandomRotationMatrix(width, width)
    turn.init(seed)
    codes = faiss.IndexPQFastScan(width, width, 4, faiss.METRIC_INNER_PRODUCT)
    codes.pq.cp.seed = 1 + seed
    index = faiss.IndexPreTransform(turn, codes)
    size = min(
        n_items, _SAMPLE
    )  # sixteen values a feature are known well from far fewer than a million items
    sample = 1 + np.sort(np.random.default_rng(seed).choice(n_items, size, replace=False))
    with threadpool_limits(1, "blas"):  # thousands of tiny products: threads only wait for each other
        index.train(vectors[sample])
        index.add(vectors[1:])
    return index


def _checked(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    if vectors.ndim != 2 or len(vectors) < 2:
        raise RetrievalError(
            f"item vectors of shape {vectors.shape}: (n_items + 1, D) are needed, row 0 padding"
        )
    finite = np.isfinite(vectors[1:]).all(axis=1)
    if not finite.all():
        raise RetrievalError(
            f"the vector of item {1 + int(finite.argmin())} holds a value that is not finite"
        )
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _faiss() -> Any:
    """The module, or None without the extra."""
    try:
        return import_module("faiss")
    except ImportError:
        return None
