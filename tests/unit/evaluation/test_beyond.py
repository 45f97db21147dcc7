"""Coverage, novelty, popularity and diversity: by hand, by brute force, and as RecTools documents them."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hand_made import N_ITEMS, build_dataset

from deeprec.data.dataset import Dataset
from deeprec.errors import EvaluationError
from deeprec.evaluation.beyond import (
    Yardstick,
    category_vectors,
    coverage,
    history_popularity,
    intra_list_diversity,
    list_columns,
    padded,
)


@pytest.fixture
def yardstick(dataset: Dataset) -> Yardstick:
    return Yardstick.of(dataset)


def test_lists_are_cut_and_padded() -> None:
    assert padded([[3, 3, 0, 5], [], [1, 2, 3, 4]], 3).tolist() == [[3, 5, 0], [0, 0, 0], [1, 2, 3]]


def test_counts_are_those_of_the_fit_part(yardstick: Yardstick) -> None:
    # User u has u+1, u+2 and u+3 in fit: item 1 one user, item 2 two, items 3 to 12 three, 13 two, 14 one.
    assert yardstick.interactions.tolist() == [0, 1, 2, *[3] * 10, 2, 1, *[0] * (N_ITEMS - 14)]
    assert yardstick.fit_users == 12
    assert yardstick.share[3] == 3 / 12
    # 36 interactions: nine items with three each are 27, the tenth reaches 28.8, which is 80%.
    assert np.flatnonzero(yardstick.head).tolist() == list(range(3, 13))


def test_a_user_who_has_an_item_twice_is_one_user(dataset: Dataset) -> None:
    again = dataset.interactions.with_columns(
        item_index=pl.when(pl.col("part") == "fit").then(pl.lit(7, pl.Int32)).otherwise("item_index")
    )
    found = Yardstick.of(Dataset("twice", dataset.catalog, again, dataset.users, allow_repeats=True))
    assert (found.interactions[7], found.share[7]) == (36, 1.0)
    assert found.self_information[7] == 0.0


def test_columns_by_hand(yardstick: Yardstick) -> None:
    lists = padded([[3, 1], [], [30], [3, 4, 5]], 10)
    found = list_columns(lists, yardstick)
    # Items 3 and 1: 3 and 1 of 12 users. Nobody has item 30: it counts as one user's.
    novelty = [(math.log2(4) + math.log2(12)) / 2, np.nan, math.log2(12), math.log2(4)]
    np.testing.assert_allclose(found["novelty"], novelty, atol=1e-12)
    np.testing.assert_allclose(found["popularity"], [(3 + 1) / 24, np.nan, 0.0, 0.25], atol=1e-12)
    # Odd items are action, even ones drama: same category, cosine 1, another, cosine 0.
    np.testing.assert_allclose(found["diversity"], [0.0, np.nan, np.nan, 2 / 3], atol=1e-12)
    assert coverage(lists, N_ITEMS) == 5 / N_ITEMS
    assert coverage(padded([[], []], 10), N_ITEMS) == 0.0


def test_history_popularity(dataset: Dataset, yardstick: Yardstick) -> None:
    example = dataset.examples("test")[0]  # 1, 2, 3, and 4 from validation
    found = history_popularity([example, type(example)("new", ())], yardstick)
    np.testing.assert_allclose(found, [(1 + 2 + 3 + 3) / 4 / 12, np.nan])


def test_the_example_that_rectools_documents() -> None:
    """MeanInvUserFreq and AvgRecPopularity of RecTools 0.18, on the tables of their docstrings."""
    dataset = build_dataset()
    rows = [("1", 1), ("1", 2), ("2", 1), ("3", 1)]
    frame = pl.DataFrame(
        {
            "user_id": [user for user, _ in rows],
            "item_index": [item for _, item in rows],
            "timestamp": [0.0] * 4,
            "rating": [1.0] * 4,
            "part": ["fit"] * 4,
        },
        schema=dataset.interactions.schema,
    )
    yardstick = Yardstick.of(Dataset("documented", dataset.catalog, frame, dataset.users))
    lists = [[3], [3, 2], [1, 2]]
    first = list_columns(padded(lists, 1), yardstick)["novelty"]
    np.testing.assert_allclose(first, [1.5849625, 1.5849625, 0.0], atol=1e-7)
    all_three = list_columns(padded(lists, 3), yardstick)["novelty"]
    np.testing.assert_allclose(all_three, [1.5849625, 1.5849625, 0.79248125], atol=1e-7)


def test_diversity_is_what_comparing_every_pair_gives() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(61, 7))
    vectors[40:45] = 0.0
    vectors /= np.where((norms := np.linalg.norm(vectors, axis=1, keepdims=True)) > 0, norms, 1)
    vectors[0] = 0.0
    lists = padded(
        [(generator.permutation(60)[: generator.integers(0, 13)] + 1).tolist() for _ in range(1500)], 10
    )
    found = intra_list_diversity(lists, vectors)
    for row, value in zip(lists, found, strict=True):
        cosines = [vectors[a] @ vectors[b] for a, b in combinations(row[row > 0], 2)]
        if cosines:
            assert value == pytest.approx(1 - np.mean(cosines), abs=1e-12)
        else:
            assert np.isnan(value)


def test_vectors_are_scaled_and_padding_is_zero(dataset: Dataset) -> None:
    found = Yardstick.of(dataset, np.full((N_ITEMS + 1, 2), 3.0, dtype=np.float32), "mine")
    assert found.space == "mine"
    assert found.vectors[0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(np.linalg.norm(found.vectors[1:], axis=1), 1.0)
    assert category_vectors(dataset)[1:3].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_what_is_refused(dataset: Dataset) -> None:
    with pytest.raises(EvaluationError, match="3 vectors for 40 items"):
        Yardstick.of(dataset, np.zeros((3, 2), dtype=np.float32))
    later = dataset.interactions.filter(pl.col("part") != "fit")
    with pytest.raises(EvaluationError, match="'hand-made' has no fit part"):
        Yardstick.of(Dataset("hand-made", dataset.catalog, later, dataset.users))
