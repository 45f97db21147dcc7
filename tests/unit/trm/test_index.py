"""The index against a plain sort: with ties, exclusions, and every size around a block's border."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from deeprec.distribution import install_command
from deeprec.errors import MissingExtraError, RetrievalError
from deeprec.trm import index as module
from deeprec.trm.base import Retrieval
from deeprec.trm.index import ApproximateIndex, ExactIndex, build_index
from deeprec.trm.ranking import top_items
from deeprec.trm.topk import COLUMNS, ROWS

Floats = NDArray[np.float32]


def _sorted(scores: Floats, k: int, exclude: Sequence[Sequence[int]] | None = None) -> NDArray[np.int64]:
    """The k best by score, then index: the definition, without any cleverness."""
    masked = scores.copy()
    masked[:, 0] = -np.inf
    for row, items in enumerate(exclude or ()):
        masked[row, list(items)] = -np.inf
    return np.argsort(-masked, axis=1, kind="stable")[:, :k]


def _drawn(items: int, queries: int, width: int, seed: int, tied: bool) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    sizes = (items + 1, width), (queries, width)
    if tied:  # whole numbers: sums are exact, and equal scores really are
        vectors, asked = (rng.integers(-1, 2, size).astype(np.float32) for size in sizes)
    else:
        vectors, asked = (rng.standard_normal(size).astype(np.float32) for size in sizes)
    return vectors, asked


def _clustered(items: int, queries: int, width: int, seed: int = 0) -> tuple[Floats, Floats]:
    """Items in clusters of like taste, queries between the items of a few of them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(10, items // 200), width)).astype(np.float32)
    home = rng.integers(0, len(centres), items + 1)
    vectors = centres[home] + 0.8 * rng.standard_normal((items + 1, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    asked = vectors[rng.integers(1, items + 1, (queries, 6))].sum(axis=1)
    return vectors, asked / np.linalg.norm(asked, axis=1, keepdims=True)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("items", [1, 15, 16, 40, COLUMNS - 1, COLUMNS, COLUMNS + 1, 2 * COLUMNS + 50])
def test_exact_search_is_a_sort(items: int, tied: bool) -> None:
    vectors, queries = _drawn(items, 5, 4, items, tied)
    index = ExactIndex(vectors)
    scores = index.score(queries)
    assert np.isneginf(scores[:, 0]).all()
    np.testing.assert_allclose(scores[:, 1:], queries @ vectors[1:].T, atol=1e-5)
    rng = np.random.default_rng(1)
    for k in {1, min(20, items), min(300, items), min(items, 2 * COLUMNS)}:
        found = index.search(queries, k)
        expected = _sorted(scores, k)
        assert np.array_equal(found.item_indices, expected)
        assert np.array_equal(found.scores, np.take_along_axis(scores, expected, axis=1))
        exclude = [rng.integers(1, items + 1, (items - k) // 2).tolist() for _ in queries]
        assert np.array_equal(index.search(queries, k, exclude).item_indices, _sorted(scores, k, exclude))


@pytest.mark.parametrize("rows", [0, 1, ROWS - 1, ROWS, ROWS + 1])
def test_any_number_of_queries(rows: int) -> None:
    vectors, queries = _drawn(500, rows, 4, rows, tied=True)
    exclude = [[1 + row % 500, 7] for row in range(rows)]
    found = ExactIndex(vectors).search(queries, 20, exclude)
    assert found.item_indices.shape == (rows, 20)
    assert found.item_indices.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert np.array_equal(found.item_indices, _sorted(queries @ vectors.T, 20, exclude))


@pytest.mark.parametrize("spread", [1, 2, 5, 1000])
def test_top_items_is_a_sort_too(spread: int) -> None:
    rng = np.random.default_rng(spread)
    scores = rng.integers(0, spread, (30, 9001)).astype(np.float32)
    before = scores.copy()
    exclude = [rng.integers(1, 9001, 40).tolist() for _ in scores]
    for k in (1, 20, 700, 8000):
        assert np.array_equal(top_items(scores, k, exclude).item_indices, _sorted(scores, k, exclude))
    assert np.array_equal(scores, before)


def test_a_score_of_minus_infinity_is_never_returned() -> None:
    scores = np.full((1, 41), -np.inf, np.float32)
    scores[0, [3, 30]] = 1
    assert top_items(scores, 2).item_indices.tolist() == [[3, 30]]
    with pytest.raises(RetrievalError, match="k = 3: only 2 of 40 items are left for history 0"):
        top_items(scores, 3)


def test_a_score_that_is_no_number_is_named() -> None:
    scores = np.zeros((300, 5000), np.float32)
    scores[280, 4800] = np.nan
    with pytest.raises(RetrievalError, match="score of item 4800 for history 280 is not a number"):
        top_items(scores, 5)


def _indices(vectors: Floats) -> list[module.ItemIndex]:
    pytest.importorskip("faiss")
    return [ExactIndex(vectors), ApproximateIndex(vectors)]


def test_bad_questions_are_refused() -> None:
    vectors, queries = _clustered(2000, 2, 8)
    for index in _indices(vectors):
        for k, exclude, message in [
            (0, None, "k = 0: must be at least 1"),
            (2001, None, "k = 2001: the catalogue holds 2000 items"),
            (1, [[1]], "1 exclusion lists for 2 histories"),
            (1, [[1], [2, 0]], "exclusion list 1: item index 0 is not between 1 and 2000"),
            (1999, [[], [5, 5, 6]], "k = 1999: only 1998 of 2000 items are left for history 1"),
        ]:
            with pytest.raises(RetrievalError, match=message):
                index.search(queries, k, exclude)
        with pytest.raises(RetrievalError, match=r"queries of shape \(2, 7\)"):
            index.search(queries[:, :7], 1)
        with pytest.raises(RetrievalError, match="query 1 holds a value that is not finite"):
            index.search(np.array([[0] * 8, [np.nan] * 8], np.float32), 1)


def test_bad_vectors_are_refused() -> None:
    vectors = np.ones((4, 2), np.float32)
    vectors[0] = np.nan  # padding is nobody's business
    assert build_index(vectors).search(np.ones((1, 2), np.float32), 1).item_indices.tolist() == [[1]]
    vectors[2, 1] = np.inf
    with pytest.raises(RetrievalError, match="vector of item 2 holds a value that is not finite"):
        build_index(vectors)
    with pytest.raises(RetrievalError, match=r"item vectors of shape \(1, 2\)"):
        build_index(vectors[:1])


def test_approximate_search_finds_nearly_all_in_the_right_order() -> None:
    vectors, queries = _clustered(20_000, 60, 16)
    exact, approximate = _indices(vectors)
    best = exact.search(queries, 20)
    exclude = [[*row[:5].tolist(), 1, 2] for row in best.item_indices]
    for listed in (None, exclude):
        wanted, found = exact.search(queries, 20, listed), approximate.search(queries, 20, listed)
        assert _recall(found, wanted) >= 0.95
        assert (np.diff(found.scores, axis=1) <= 0).all()
        scores = np.take_along_axis(exact.score(queries), found.item_indices, axis=1)
        np.testing.assert_allclose(found.scores, scores, atol=1e-5)
        for row, items in enumerate(listed or ()):
            assert not set(items) & set(found.item_indices[row].tolist())


def test_approximate_search_is_the_same_each_time_and_in_any_batch() -> None:
    vectors, queries = _clustered(5000, 30, 16)
    vectors[1001:2001] = vectors[1:1001]  # each of these twice: ties
    first, second = ApproximateIndex(vectors), ApproximateIndex(vectors)
    exclude = [list(range(1, 1 + 10 * row)) for row in range(30)]
    together = first.search(queries, 10, exclude).item_indices
    assert np.array_equal(together, second.search(queries, 10, exclude).item_indices)
    alone = [first.search(queries[[row]], 10, [exclude[row]]).item_indices[0] for row in range(30)]
    assert np.array_equal(together, np.stack(alone))
    plain = first.search(queries, 10)
    tied = np.diff(plain.scores, axis=1) == 0
    assert tied.any()
    assert (np.diff(plain.item_indices, axis=1)[tied] > 0).all()


def test_approximate_search_compares_with_all_where_few_are_left() -> None:
    vectors, queries = _clustered(3000, 3, 8)
    exact, approximate = _indices(vectors)
    most = exact.search(queries, 2900).item_indices
    exclude = [[], most[1].tolist(), most[2, :10].tolist()]
    found = approximate.search(queries, 100, exclude).item_indices
    wanted = exact.search(queries, 100, exclude).item_indices
    assert np.array_equal(found[1], wanted[1])
    assert np.array_equal(
        approximate.search(queries, 3000).item_indices, exact.search(queries, 3000).item_indices
    )


def test_which_index_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = _clustered(300, 1, 4)
    pytest.importorskip("faiss")
    assert isinstance(build_index(vectors), ExactIndex)
    assert isinstance(build_index(vectors, large=300), ApproximateIndex)
    assert isinstance(build_index(vectors, approximate=False, large=300), ExactIndex)
    assert isinstance(build_index(vectors, approximate=True), ApproximateIndex)
    monkeypatch.setattr(module, "_faiss", lambda: None)
    assert isinstance(build_index(vectors, large=300), ExactIndex)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("index"))):
        build_index(vectors, approximate=True)


def test_faiss_and_torch_take_turns_in_one_process() -> None:
    import torch

    vectors, queries = _clustered(3000, 8, 8)
    exact, approximate = _indices(vectors)
    for _ in range(3):
        product = torch.from_numpy(queries) @ torch.from_numpy(vectors).T
        assert product.isfinite().all()
        assert _recall(approximate.search(queries, 10), exact.search(queries, 10)) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("width", [64, 128])
def test_a_million_items(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures of docs/howto/own-trm.md: `pytest -m slow -k million tests/unit/trm/test_index.py`."""
    vectors, queries = _clustered(1_000_000, 100, width)
    started = time.perf_counter()
    exact, approximate = _indices(vectors)
    built = time.perf_counter() - started
    wanted, found = exact.search(queries, 20), approximate.search(queries, 20)
    took = {index: _milliseconds(index, queries) for index in (exact, approximate)}
    recall = _recall(found, wanted)
    with capsys.disabled():
        print(
            f"\n{width} wide: built in {built:.1f} s; recall@20 {recall:.3f}; a query takes "
            f"{took[approximate]:.1f} ms, exactly {took[exact]:.1f} ms"
        )
    assert recall >= 0.95
    assert took[approximate] < 15


def _milliseconds(index: module.ItemIndex, queries: Floats) -> float:
    """Median over single queries."""
    times = []
    for row in range(len(queries)):
        started = time.perf_counter()
        index.search(queries[row : row + 1], 20, [[1, 2, 3]])
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def _recall(found: Retrieval, wanted: Retrieval) -> float:
    pairs = zip(found.item_indices.tolist(), wanted.item_indices.tolist(), strict=True)
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs]))
