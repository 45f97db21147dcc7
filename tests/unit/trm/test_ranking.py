from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from deeprec.data.catalog import Catalog
from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.baselines import ItemKNN, Popularity
from deeprec.trm.ranking import catalogue_ranks, top_items
from deeprec.types import Example, Item

INF = float("inf")


def _dataset(rows: list[tuple[str, int, str]], n_items: int, allow_repeats: bool = False) -> Dataset:
    items = tuple(Item(i, f"i{i}", f"t{i}", f"t{i}") for i in range(1, n_items + 1))
    frame = pl.DataFrame(
        {
            "user_id": [row[0] for row in rows],
            "item_index": [row[1] for row in rows],
            "timestamp": [float(place) for place in range(len(rows))],
            "rating": [None] * len(rows),
            "part": [row[2] for row in rows],
        },
        schema_overrides={"item_index": pl.Int32, "rating": pl.Float32},
    )
    users = frame.select("user_id").unique(maintain_order=True)
    return Dataset("hand-made", Catalog(items), frame, users, allow_repeats)


def test_top_items_breaks_ties_by_index_even_at_the_border() -> None:
    scores = np.array([[-INF, 1, 2, 2, 2, 0], [-INF, 5, 5, 5, 5, 5]], np.float32)
    found = top_items(scores, 2)
    assert found.item_indices.tolist() == [[2, 3], [1, 2]]
    assert found.scores.tolist() == [[2, 2], [5, 5]]
    assert top_items(scores, 2, [[2], [1, 3]]).item_indices.tolist() == [[3, 4], [2, 4]]


def test_top_items_ignores_a_score_for_padding() -> None:
    assert top_items(np.array([[9, 1, 2]], np.float32), 2).item_indices.tolist() == [[2, 1]]


def test_ranks_count_better_items_and_equal_earlier_ones() -> None:
    dataset = _dataset([("u", item, "fit") for item in (1, 1, 1, 2, 2, 3, 3, 4)], 5)
    popularity = Popularity.fit(dataset)  # counts 3, 2, 2, 1, 0
    examples = [Example("u", (), target) for target in (1, 2, 3, 4, 5)]
    assert catalogue_ranks(popularity, examples, dataset=dataset).tolist() == [1, 2, 3, 4, 5]
    examples = [Example("u", (1, 2), 3), Example("u", (4,), 5), Example("u", (3,), 3)]
    # Seen items are left out; a target among them can't be reached: 5 items, so rank 6.
    assert catalogue_ranks(popularity, examples, dataset=dataset).tolist() == [1, 4, 6]


def test_ranks_agree_with_the_full_ranking() -> None:
    dataset = _dataset([(f"u{u}", 1 + (u * 7 + i * i) % 12, "fit") for u in range(9) for i in range(4)], 12)
    knn = ItemKNN.fit(dataset)
    examples = [Example("u", (1 + u,), 12 - u) for u in range(5)]
    found = knn.retrieve(
        [e.history for e in examples], k=11, exclude=[e.history for e in examples]
    ).item_indices
    expected = [row.tolist().index(e.target) + 1 for row, e in zip(found, examples, strict=True)]
    assert catalogue_ranks(knn, examples, dataset=dataset, users_per_batch=2).tolist() == expected


def test_ranks_need_a_target() -> None:
    dataset = _dataset([("u", 1, "fit"), ("u", 2, "fit")], 2)
    with pytest.raises(RetrievalError, match="user 'x': an example without a target"):
        catalogue_ranks(Popularity.fit(dataset), [Example("x", (1,))], dataset=dataset)


def test_item_knn_by_hand() -> None:
    # u and v share 1 and 2; w holds 1 and 3. Counts: 1 -> 3, 2 -> 2, 3 -> 1.
    rows = [("u", 1), ("u", 2), ("v", 1), ("v", 2), ("w", 1), ("w", 3)]
    dataset = _dataset([(user, item, "fit") for user, item in rows], 3)
    scores = ItemKNN.fit(dataset, shrink=0.0).score([[1]])[0]
    np.testing.assert_allclose(scores[1:], [0, 2 / 6**0.5, 1 / 3**0.5], atol=2e-6)


def test_baselines_never_read_held_out_items() -> None:
    rows = [("u", 1, "fit"), ("u", 2, "fit"), ("u", 3, "rl"), ("u", 3, "validation"), ("u", 3, "test")]
    dataset = _dataset(rows, 3)
    assert Popularity.fit(dataset).score([[]])[0, 3] == 0
    assert ItemKNN.fit(dataset).score([[1, 2]])[0, 3] == 0
