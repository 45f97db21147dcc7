"""The paired bootstrap: coverage, pairing, and draws that depend on nothing but the seed."""

from __future__ import annotations

import numpy as np
import pytest

from deeprec.errors import EvaluationError
from deeprec.evaluation import bootstrap
from deeprec.evaluation.bootstrap import Difference, mean_intervals, paired_differences, resampled_means


def test_interval_of_a_mean_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(2000, 1))
    interval = mean_intervals(values, 4000, seed=1)[0]
    error = values.std() / np.sqrt(2000)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_intervals_cover_the_true_mean_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(2)
    samples = generator.binomial(1, 0.3, size=(200, 400)).astype(float)  # 400 experiments of 200 users
    draws = [mean_intervals(samples[:, [column]], 400, seed=column)[0] for column in range(400)]
    assert 0.91 <= np.mean([d.low <= 0.3 <= d.high for d in draws]) <= 0.98


def test_pairing_removes_what_users_have_in_common() -> None:
    users = np.random.default_rng(0).normal(0, 10, size=(300, 1))
    difference = paired_differences(users + 0.5, users, 200, seed=0)[0]
    assert (difference.low, difference.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert difference.verdict == "ahead"


def test_draws_do_not_depend_on_chunks_or_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((50, 3))
    whole = resampled_means(values, 40, seed=5)
    np.testing.assert_allclose(resampled_means(values[:, :1], 40, seed=5), whole[:, :1], atol=1e-12)
    monkeypatch.setattr(bootstrap, "_CHUNK_CELLS", 350)
    np.testing.assert_allclose(resampled_means(values, 40, seed=5), whole, atol=1e-12)


def test_relative_difference_of_a_zero_baseline_is_unknown() -> None:
    found = paired_differences(np.ones((4, 1)), np.zeros((4, 1)), 10, seed=0)[0]
    assert (found.mean, found.relative) == (1.0, None)


def test_relative_difference_keeps_its_sign_below_zero() -> None:
    found = paired_differences(np.full((4, 1), -0.5), np.full((4, 1), -1.0), 10, seed=0)[0]
    assert (found.mean, found.relative) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.1, 0.2, "ahead"),
        (-0.2, -0.1, "behind"),
        (0.0, 0.1, "no clear difference"),
        (-1, 1, "no clear difference"),
    ],
)
def test_an_interval_that_touches_zero_says_nothing(low: float, high: float, verdict: str) -> None:
    assert Difference(mean=(low + high) / 2, low=low, high=high).verdict == verdict


def test_what_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no users"):
        resampled_means(np.zeros((0, 2)), 10, seed=0)
    with pytest.raises(EvaluationError, match="not the same users"):
        paired_differences(np.zeros((3, 1)), np.zeros((4, 1)), 10, seed=0)
