from __future__ import annotations

from pathlib import Path

import numpy as np

from deeprec.bench.data import clustered_vectors, made_up_dataset, queries_near
from deeprec.data.format import read_dataset, write_dataset


def test_made_up_data_are_a_data_set_like_any_other(tmp_path: Path) -> None:
    dataset = made_up_dataset(20, 50, 0)
    assert dataset.catalog.n_items == 50
    assert set(dataset.interactions["item_index"]) == set(range(1, 51))
    for part in ("validation", "test"):
        assert [example.user_id for example in dataset.examples(part)] == dataset.user_ids
    assert min(len(example.history) for example in dataset.fit_histories()) >= 18
    write_dataset(dataset, tmp_path / "data")
    assert read_dataset(tmp_path / "data").fingerprint == dataset.fingerprint


def test_the_seed_makes_the_data() -> None:
    same, other = made_up_dataset(20, 50, 0), made_up_dataset(20, 50, 1)
    assert same.fingerprint == made_up_dataset(20, 50, 0).fingerprint != other.fingerprint


def test_vectors_lie_in_clusters_and_queries_near_them() -> None:
    vectors = clustered_vectors(400, 16, 0)
    assert vectors.shape == (401, 16)
    assert not vectors[0].any()
    queries = queries_near(vectors, 30, 1)
    for rows in (vectors[1:], queries):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    scores = np.sort(queries @ vectors[1:].T, axis=1)
    assert scores[:, -1].mean() > 0.65 > scores[:, 200].mean() + 0.5
