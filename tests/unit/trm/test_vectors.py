from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from deeprec.data.dataset import Dataset
from deeprec.errors import RetrievalError
from deeprec.trm.baselines import Popularity
from deeprec.trm.vectors import VectorRetriever, load_vectors


def _write(folder: Path, name: str, column: str, vectors: dict[str, Any]) -> None:
    pl.DataFrame({column: list(vectors), "vector": list(vectors.values())}, strict=False).write_parquet(
        folder / f"{name}.parquet"
    )


@pytest.fixture
def items(small_dataset: Dataset) -> dict[str, list[float]]:
    rng = np.random.default_rng(0)
    return {item.item_id: rng.standard_normal(4).tolist() for item in small_dataset.catalog.items}


def test_a_known_user_is_answered_by_its_vector(
    tmp_path: Path, small_dataset: Dataset, items: dict[str, list[float]]
) -> None:
    first = small_dataset.fit_histories()[0]
    _write(tmp_path, "items", "item_id", items)
    _write(tmp_path, "users", "user_id", {first.user_id: [0.0, 1.0, 0.0, 0.0]})
    retriever = load_vectors(tmp_path, small_dataset)
    second = np.array([items[item.item_id][1] for item in small_dataset.catalog.items], np.float32)
    later = (*first.history, 5)  # what came after the fit part is not read
    np.testing.assert_allclose(retriever.score([first.history, later])[:, 1:], [second, second], rtol=1e-6)
    other = retriever.score([first.history[:-1]])[0, 1:]  # not that user any more
    assert not np.allclose(other, second)


def test_an_unknown_history_is_the_mean_of_its_items(
    tmp_path: Path, small_dataset: Dataset, items: dict[str, list[float]]
) -> None:
    _write(tmp_path, "items", "item_id", items)
    retriever = load_vectors(tmp_path, small_dataset)
    matrix = np.array(list(items.values()), np.float32)
    query = (0.9 * matrix[2] + matrix[6]) / 1.9
    np.testing.assert_allclose(retriever.score([[3, 7]])[0, 1:], matrix @ query, rtol=1e-4, atol=1e-6)


def test_cold_items_score_like_an_average_one_and_lead_to_popularity(
    tmp_path: Path, small_dataset: Dataset, items: dict[str, list[float]]
) -> None:
    cold = small_dataset.catalog[9].item_id
    _write(tmp_path, "items", "item_id", {name: vector for name, vector in items.items() if name != cold})
    retriever = load_vectors(tmp_path, small_dataset)
    scores = retriever.score([[1]])[0, 1:]
    np.testing.assert_allclose(scores[8], np.delete(scores, 8).mean(), atol=1e-5)
    assert not retriever.item_vectors()[9].any()
    popular = Popularity.fit(small_dataset).retrieve([[9]], k=10).item_indices[0].tolist()
    found = retriever.retrieve([[1], [9], []], k=10).item_indices.tolist()
    assert found[1:] == [popular, popular]
    assert found[0] == retriever.retrieve([[1]], k=10).item_indices[0].tolist()


def test_users_with_equal_fit_histories_and_long_prefixes() -> None:
    items = np.eye(5, dtype=np.float32)
    items[0] = 0
    users = {(1,): items[2], (1, 2): items[3], (1, 2, 3, 4): items[4]}
    retriever = VectorRetriever(items, np.ones(5, np.float32), users)
    best = retriever.retrieve([[1], [1, 3], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 1]], k=1)
    assert best.item_indices[:, 0].tolist() == [2, 2, 3, 4, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"nowhere": [1.0] * 4},
            "items.parquet: 1 ids are unknown to the data set; leave them out: 'nowhere'",
        ),
        ({"FIRST": [1.0, float("nan"), 0.0, 0.0]}, "1 ids have values that are not finite: 'FIRST'"),
        ({"FIRST": [1.0, None, 0.0, 0.0]}, "1 ids have values that are not finite: 'FIRST'"),
        ({"FIRST": [0.0] * 4}, "1 ids have a zero vector; leave them out: 'FIRST'"),
        ({"SECOND": [1.0] * 3}, "1 ids have vectors of another width than 4: 'SECOND'"),
    ],
)
def test_bad_vectors_are_named(
    tmp_path: Path,
    small_dataset: Dataset,
    items: dict[str, list[float]],
    change: dict[str, Any],
    message: str,
) -> None:
    names = {"FIRST": small_dataset.catalog[1].item_id, "SECOND": small_dataset.catalog[2].item_id}
    for short, name in names.items():
        message = message.replace(short, name)
    _write(
        tmp_path, "items", "item_id", items | {names.get(key, key): value for key, value in change.items()}
    )
    with pytest.raises(RetrievalError, match=message):
        load_vectors(tmp_path, small_dataset)


def test_bad_files_are_named(tmp_path: Path, small_dataset: Dataset, items: dict[str, list[float]]) -> None:
    with pytest.raises(RetrievalError, match=r"items\.parquet: can't be read"):
        load_vectors(tmp_path, small_dataset)
    _write(tmp_path, "items", "id", items)
    with pytest.raises(RetrievalError, match="no column 'item_id'"):
        load_vectors(tmp_path, small_dataset)
    twice = pl.DataFrame({"item_id": [small_dataset.catalog[1].item_id] * 2, "vector": [[1.0], [2.0]]})
    twice.write_parquet(tmp_path / "items.parquet")
    with pytest.raises(RetrievalError, match="2 ids are listed twice"):
        load_vectors(tmp_path, small_dataset)
    twice.head(1).with_columns(vector=pl.lit(1.0)).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(RetrievalError, match="it must hold lists of numbers"):
        load_vectors(tmp_path, small_dataset)
    _write(tmp_path, "items", "item_id", items)
    _write(tmp_path, "users", "user_id", {small_dataset.user_ids[0]: [1.0, 2.0]})
    with pytest.raises(RetrievalError, match=r"users\.parquet: 1 ids have vectors of another width than 4"):
        load_vectors(tmp_path, small_dataset)
