"""What a list is like besides hitting: popularity, novelty, diversity, and coverage of the catalogue.

Everything is measured with the fit part, whatever a method was fitted on: one yardstick for all.
Lists are the counted ones (a failed answer is an empty list), cut at k. What an empty list has
none of is NaN, and left out of the mean; the number of users says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.types import Example

Lists = NDArray[np.int64]  # (U, k) distinct item indices, best first; 0 pads behind them

HEAD_SHARE = 0.8
_USERS_PER_BLOCK = 1024  # so that the vectors of all lists are never in memory together


@dataclass(frozen=True)
class Yardstick:
    """What the fit part says of each item; arrays are (n_items + 1,), entry 0 pads.

    `interactions` counts the item's rows in the fit part, `share` is the share of fit users who have
    it. `vectors` (n_items + 1, D) are unit rows (zero where nothing is known), and `space` says of what.
    """

    interactions: NDArray[np.int64]
    share: NDArray[np.float64]
    fit_users: int
    vectors: NDArray[np.float64]
    space: str

    @classmethod
    def of(
        cls, dataset: Dataset, vectors: NDArray[np.float32] | None = None, space: str = "text"
    ) -> Yardstick:
        """From the fit part, and text vectors of the items (None: multi-hot category vectors).

        Raises EvaluationError for a data set without a fit part, or vectors of another catalogue.
        """
        fit = dataset.interactions.filter(pl.col("part") == "fit")
        fit_users = fit["user_id"].n_unique()
        if fit_users == 0:
            raise EvaluationError(f"data set '{dataset.name}' has no fit part; popularity is counted there")
        n_items = dataset.catalog.n_items
        rows = np.bincount(fit["item_index"].to_numpy(), minlength=n_items + 1)
        holders = fit.unique(["user_id", "item_index"])["item_index"].to_numpy()
        if vectors is None:
            vectors, space = category_vectors(dataset), "categories"
        if len(vectors) != n_items + 1:
            raise EvaluationError(f"{len(vectors)} vectors for {n_items} items; give one a row, row 0 zero")
        return cls(
            interactions=rows.astype(np.int64),
            share=np.bincount(holders, minlength=n_items + 1) / fit_users,
            fit_users=fit_users,
            vectors=_unit_rows(np.asarray(vectors, dtype=np.float64)),
            space=space,
        )

    @property
    def base(self) -> str:
        """Hash of the counts: popularity and novelty compare only where it agrees."""
        return sha256(self.share.tobytes() + self.interactions.tobytes()).hexdigest()[:16]

    @property
    def self_information(self) -> NDArray[np.float64]:
        """-log2 of each item's share (n_items + 1,); an item that nobody has counts as one user's."""
        return -np.log2(np.maximum(self.share, 1.0 / self.fit_users))

    @property
    def head(self) -> NDArray[np.bool_]:
        """Which items are the head: the most popular ones that make 80% of the fit interactions.

        The item that reaches the 80% belongs to it; equally popular items go by index.
        """
        order = np.lexsort((np.arange(len(self.interactions)), -self.interactions))
        before = np.cumsum(self.interactions[order]) - self.interactions[order]
        head = np.zeros(len(self.interactions), dtype=bool)
        head[order[before < HEAD_SHARE * self.interactions.sum()]] = True
        return head & (self.interactions > 0)


def category_vectors(dataset: Dataset) -> NDArray[np.float32]:
    """Multi-hot vectors (n_items + 1, C) of the items' categories, row 0 zero."""
    names = sorted({name for item in dataset.catalog.items for name in item.categories})
    places = {name: place for place, name in enumerate(names)}
    rows = np.zeros((dataset.catalog.n_items + 1, max(len(names), 1)), dtype=np.float32)
    for item in dataset.catalog.items:
        for name in item.categories:
            rows[item.item_index, places[name]] = 1.0
    return rows


def padded(rankings: Sequence[Sequence[int]], k: int) -> Lists:
    """The first k distinct items of each ranking as rows of one array, 0 behind the last."""
    lists = np.zeros((len(rankings), k), dtype=np.int64)
    for row, ranking in zip(lists, rankings, strict=True):
        items = [item for item in dict.fromkeys(ranking) if item != 0][:k]
        row[: len(items)] = items
    return lists


def list_columns(lists: Lists, yardstick: Yardstick) -> dict[str, NDArray[np.float64]]:
    """Per-user columns (U,): `novelty`, `popularity` and `diversity`.

    For a list L and the share p(i) of fit users who have item i: novelty is the mean over i in L of
    -log2 p(i), in bits (Zhou et al. 2010), popularity the mean over i in L of p(i), diversity 1 - the mean
    over pairs i < j in L of cos(v_i, v_j) (Ziegler et al. 2005). NaN for an empty list, diversity for a
    single item too.
    """
    return {
        "novelty": _mean_over_list(yardstick.self_information, lists),
        "popularity": _mean_over_list(yardstick.share, lists),
        "diversity": intra_list_diversity(lists, yardstick.vectors),
    }


def history_popularity(examples: Sequence[Example], yardstick: Yardstick) -> NDArray[np.float64]:
    """Mean share of fit users who have the items of each user's history (U,); NaN for an empty one."""
    return np.array(
        [yardstick.share[list(example.history)].mean() if example.history else np.nan for example in examples]
    )


def intra_list_diversity(lists: Lists, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 - mean pairwise cosine (U,) of each list's vectors; NaN below two items.

    A zero vector (an item that the space knows nothing of) has cosine 0 with every other.
    """
    found = np.full(len(lists), np.nan)
    for start in range(0, len(lists), _USERS_PER_BLOCK):
        block = lists[start : start + _USERS_PER_BLOCK]
        of_list = vectors[block]  # (B, k, D); padding is a zero row and adds nothing
        # |sum of vectors|^2 holds each pair twice, and each vector with itself.
        pairs = np.square(of_list.sum(axis=1)).sum(axis=1) - np.square(of_list).sum(axis=(1, 2))
        count = (block > 0).sum(axis=1)
        several = count > 1
        found[start : start + _USERS_PER_BLOCK][several] = 1.0 - pairs[several] / (
            count[several] * (count[several] - 1.0)
        )
    return found


def coverage(lists: Lists, n_items: int) -> float:
    """Share of the catalogue that stands in at least one list. It grows with the number of users."""
    return len(np.unique(lists[lists > 0])) / n_items


def _mean_over_list(values: NDArray[np.float64], lists: Lists) -> NDArray[np.float64]:
    listed = lists > 0
    count = listed.sum(axis=1)
    total = np.where(listed, values[lists], 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _unit_rows(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1.0)
    unit[0] = 0.0  # padding stands for no item
    return unit
