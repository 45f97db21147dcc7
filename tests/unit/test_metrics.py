"""Ranking metrics: hand-computed values, parity with ranx, and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeprec.errors import EvaluationError
from deeprec.metrics import RANKING_METRICS, means, ranking_metrics, ranks_in_lists


def test_hand_computed() -> None:
    found = ranking_metrics([[1, 2, 3], [4, 5, 6, 7, 8, 9, 2], [3], []], [1, 2, 9, 4])
    assert tuple(found) == RANKING_METRICS
    assert found["recall@1"].tolist() == [1, 0, 0, 0]
    assert found["recall@5"].tolist() == [1, 0, 0, 0]
    assert found["recall@10"].tolist() == [1, 1, 0, 0]
    assert found["ndcg@5"].tolist() == [1, 0, 0, 0]
    assert found["ndcg@10"].tolist() == pytest.approx([1, 1 / math.log2(8), 0, 0], abs=1e-12)
    assert found["mrr"].tolist() == pytest.approx([1, 1 / 7, 0, 0], abs=1e-12)
    assert means(found)["recall@10"] == 0.5


def test_duplicates_count_once_and_padding_is_skipped() -> None:
    assert ranks_in_lists([[5, 5, 5, 7], [0, 0, 7, 0], [7, 7]], [7, 7, 7]).tolist() == [2, 1, 1]


def test_the_cut_applies_to_distinct_items() -> None:
    ranking = [*range(1, 10), 9, 9, 50, 51]
    assert ranks_in_lists([ranking, ranking], [50, 51]).tolist() == [10, 0]
    assert ranking_metrics([ranking], [51])["mrr"].tolist() == [0]


def test_accepts_arrays() -> None:
    assert ranks_in_lists(np.array([[3, 4], [4, 0]]), [4, 3]).tolist() == [2, 0]


@pytest.mark.parametrize("target", [0, -1])
def test_padding_is_never_a_target(target: int) -> None:
    with pytest.raises(EvaluationError, match="not an item index"):
        ranks_in_lists([[0, 1]], [target])


def test_lengths_must_agree() -> None:
    with pytest.raises(EvaluationError, match="2 rankings for 1 targets"):
        ranks_in_lists([[1], [2]], [1])


def test_no_metric_beyond_the_cut() -> None:
    with pytest.raises(EvaluationError, match="cut-off 10"):
        ranking_metrics([[1]], [1], ks=(20,))


def test_no_users_have_no_mean() -> None:
    with pytest.raises(EvaluationError, match="no users"):
        means(ranking_metrics([], []))


def _with_ranx(names: list[str]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Our metrics and ranx' on the same 300 users, ragged lists and misses among them."""
    from ranx import Qrels, Run, evaluate

    generator = np.random.default_rng(0)
    rankings = [generator.permutation(30)[: generator.integers(1, 15)] + 1 for _ in range(300)]
    targets = generator.integers(1, 31, size=300)
    run = {
        f"u{user:03}": {str(item): float(-place) for place, item in enumerate(ranking[:10])}
        for user, ranking in enumerate(rankings)
    }
    qrels = {f"u{user:03}": {str(target): 1} for user, target in enumerate(targets)}
    ours = ranking_metrics([r.tolist() for r in rankings], targets.tolist())
    return ours, evaluate(Qrels(qrels), Run(run), names, return_mean=False)


# ranx compiles with numba, which warns about its own casts.
@pytest.mark.filterwarnings("ignore:.*unsafe cast:Warning")  # numba writes it in colour where it can
def test_parity_with_ranx() -> None:
    ours, peer = _with_ranx(list(RANKING_METRICS))
    for name in RANKING_METRICS:
        np.testing.assert_allclose(ours[name], peer[name], atol=1e-9, err_msg=name)
    assert 0 < means(ours)["recall@10"] < 1


@pytest.mark.slow  # ranx compiles each metric for some five seconds
@pytest.mark.filterwarnings("ignore:.*unsafe cast:Warning")
def test_parity_with_what_ranx_calls_otherwise() -> None:
    """With one relevant item, hits, the hit rate, precision, MAP and Burges' NDCG say what ours say."""
    same = {f"{peer}@{k}": f"recall@{k}" for peer in ("hits", "hit_rate") for k in (1, 5, 10)}
    same |= {f"ndcg_burges@{k}": f"ndcg@{k}" for k in (5, 10)} | {"mrr@10": "mrr", "map@10": "mrr"}
    shares = {f"precision@{k}": (f"recall@{k}", k) for k in (1, 5, 10)}
    ours, peer = _with_ranx([*same, *shares])
    for name, own in same.items():
        np.testing.assert_allclose(ours[own], peer[name], atol=1e-9, err_msg=name)
    for name, (own, k) in shares.items():
        np.testing.assert_allclose(ours[own] / k, peer[name], atol=1e-9, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 12), max_size=25), st.integers(1, 12)), min_size=1, max_size=8)
)
def test_always_within_bounds(users: list[tuple[list[int], int]]) -> None:
    found = ranking_metrics([ranking for ranking, _ in users], [target for _, target in users])
    for values in found.values():
        assert ((values >= 0) & (values <= 1)).all()
    assert (found["recall@1"] <= found["mrr"]).all()
    assert (found["ndcg@10"] <= found["recall@10"]).all()
