"""The k best items of rows of scores that come in blocks: exact, without sorting whole rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import RetrievalError
from deeprec.trm.base import Histories, Retrieval

# A block of scores that stays in the processor's cache: 4 MB.
ROWS, COLUMNS = 256, 4096
_GROUP = 16  # columns whose maximum stands for them until it turns out that they matter

Block = Callable[[slice, slice], NDArray[np.float32]]


class ItemLists:
    """Lists of item indices, checked, as flat arrays: excluded items, or histories."""

    def __init__(self, lists: Histories, n_items: int, what: str) -> None:
        """Raises RetrievalError for an index that is not between 1 and `n_items`, naming `what` and row."""
        sizes = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
        self.items = np.fromiter(chain.from_iterable(lists), dtype=np.int64, count=int(sizes.sum()))
        self.rows = np.repeat(np.arange(len(lists)), sizes)
        wrong = np.flatnonzero((self.items < 1) | (self.items > n_items))
        if len(wrong):
            raise RetrievalError(
                f"{what} {self.rows[wrong[0]]}: item index {self.items[wrong[0]]} is not between 1 and {n_items}"
            )

    def within(self, rows: slice) -> ItemLists:
        """Those of some rows, which count from 0 again, in the order of items."""
        part = slice(*np.searchsorted(self.rows, (rows.start, rows.stop)))
        order = np.argsort(self.items[part], kind="stable")
        found = object.__new__(ItemLists)
        found.items, found.rows = self.items[part][order], self.rows[part][order] - rows.start
        return found


def check_request(rows: int, n_items: int, k: int, exclude: Histories | None) -> ItemLists:
    """What is excluded; raises RetrievalError for a k or exclusion lists that can't be."""
    if exclude is not None and len(exclude) != rows:
        raise RetrievalError(f"{len(exclude)} exclusion lists for {rows} histories; give one each")
    if k < 1:
        raise RetrievalError(f"k = {k}: must be at least 1")
    if k > n_items:
        raise RetrievalError(f"k = {k}: the catalogue holds {n_items} items; ask for at most that many")
    return ItemLists(() if exclude is None else exclude, n_items, "exclusion list")


def best_items(block: Block, rows: int, n_items: int, k: int, exclude: Histories | None = None) -> Retrieval:
    """The k best items of each row, best first, ties by index; never padding, -inf or what is excluded.

    `block(rows, columns)` gives a part of the scores (rows, n_items + 1) as a C-contiguous
    array that may be written to. Raises RetrievalError if k is not between 1 and what is
    left of the catalogue, or a score is not a number.
    """
    excluded = check_request(rows, n_items, k, exclude)
    items = np.zeros((rows, k), dtype=np.int64)
    scores = np.zeros((rows, k), dtype=np.float32)
    for start in range(0, rows, ROWS):
        part = slice(start, min(start + ROWS, rows))
        best = _best_of_rows(block, part, n_items, k, excluded.within(part))
        items[part], scores[part] = best.finish(start, n_items)
    return Retrieval(items, scores)


def _best_of_rows(block: Block, rows: slice, n_items: int, k: int, excluded: ItemLists) -> BestColumns:
    best = BestColumns(rows.stop - rows.start, k)
    for start in range(0, n_items + 1, COLUMNS):
        columns = slice(start, min(start + COLUMNS, n_items + 1))
        scores = block(rows, columns)
        within = slice(*np.searchsorted(excluded.items, (columns.start, columns.stop)))
        # Before the best are looked for: a list that lost items afterwards would be too short.
        scores[excluded.rows[within], excluded.items[within] - start] = -np.inf
        if start == 0:
            scores[:, 0] = -np.inf
        best.add(scores, start, rows.start)
    return best


class BestColumns:
    """Collects what may still be among the k best of each row, block by block.

    The k-th largest maximum over groups of columns is never above the k-th best score, so
    a group below it is dropped unread. What is left over is little, and sorted at the end.
    """

    def __init__(self, rows: int, k: int) -> None:
        self._k = k
        self._maxima = np.empty((rows, 0), dtype=np.float32)  # the k largest of the groups so far
        self._border = np.full(rows, -np.inf, dtype=np.float32)
        self._cells: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []

    def add(self, scores: NDArray[np.float32], start: int = 0, first_row: int = 0) -> None:
        """Take in a block (rows, width), C-contiguous, whose first column is column `start`.

        Raises RetrievalError for a score that is not a number, counting rows from `first_row`.
        """
        width = scores.shape[1]
        groups = width // _GROUP
        body = groups * _GROUP  # column c belongs to group c % groups; the few behind stand for themselves
        maxima = scores[:, :body].reshape(len(scores), _GROUP, groups).max(axis=1)
        rest = scores[:, body:]
        both = np.concatenate([self._maxima, maxima, rest], axis=1)
        if np.isnan(both).any():
            row, column = np.argwhere(np.isnan(scores))[0]
            raise RetrievalError(
                f"the score of item {start + column} for history {first_row + row} is not a number"
            )
        self._raise_border(both)
        row, group = _where(maxima >= self._border[:, None])
        cells = scores.ravel()[(row * width + group)[:, None] + groups * np.arange(_GROUP)]  # (found, _GROUP)
        found, place = _where(cells >= self._border[row][:, None])
        self._keep(row[found], group[found] + groups * place + start, cells[found, place])
        row, column = _where(rest >= self._border[:, None])
        self._keep(row, column + body + start, rest[row, column])

    def finish(self, first_row: int, n_items: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Columns and scores (rows, k), best first, ties by column.

        Raises RetrievalError for a row with fewer than k scores above -inf.
        """
        row, column, score = (np.concatenate(parts) for parts in zip(*self._cells, strict=True))
        last = score >= self._border[row]
        row, column, score = row[last], column[last], score[last]
        found = np.bincount(row, minlength=len(self._border))
        if len(found) and found.min() < self._k:
            short = int(found.argmin())
            raise too_few(self._k, int(found[short]), n_items, first_row + short)
        order = np.lexsort((column, -score, row))
        best = order[(np.cumsum(found) - found)[:, None] + np.arange(self._k)]
        return column[best], score[best]

    def _raise_border(self, maxima: NDArray[np.float32]) -> None:
        if maxima.shape[1] >= self._k:
            maxima = np.partition(maxima, -self._k, axis=1)[:, -self._k :]
            self._border = maxima[:, 0]
        self._maxima = maxima

    def _keep(self, row: NDArray[np.int64], column: NDArray[np.int64], score: NDArray[np.float32]) -> None:
        real = score > -np.inf
        self._cells.append((row[real], column[real], score[real]))


def too_few(k: int, left: int, n_items: int, row: int) -> RetrievalError:
    """The error for a row of which exclusions leave fewer than k items."""
    return RetrievalError(
        f"k = {k}: only {left} of {n_items} items are left for history {row} after exclusions; "
        "ask for fewer, or exclude fewer"
    )


def _where(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`np.nonzero` of a matrix, several times faster where little is set."""
    row, column = np.divmod(np.flatnonzero(mask), max(1, mask.shape[1]))
    return row, column
