from __future__ import annotations

import numpy as np
import pytest

from deeprec.rl.advantages import (
    Credit,
    center,
    credit_steps,
    credit_trajectory,
    groups_without_signal,
    token_sums,
    whiten,
)


def by_trajectory(rewards: list[float], rollouts_per_user: int) -> list[float]:
    """Centered rewards of trajectories of one token each."""
    centered = center([credit_trajectory([1], reward) for reward in rewards], rollouts_per_user)
    return [float(row[0]) for row in centered]


def test_center_by_hand() -> None:
    assert by_trajectory([1.0, 0.0, 2.0, 3.0, 3.0, 3.0], 3) == [0.0, -1.0, 1.0, 0.0, 0.0, 0.0]


def test_every_sampled_token_of_a_trajectory_has_its_advantage_and_others_none() -> None:
    credits = [credit_trajectory([1, 0, 1, 1], 3.0), credit_trajectory([0, 1], 1.0)]
    assert [row.tolist() for row in center(credits, 2)] == [[1.0, 0.0, 1.0, 1.0], [0.0, -1.0]]


def test_a_trajectory_without_a_sampled_token_still_counts_for_the_mean() -> None:
    credits = [credit_trajectory([1], 3.0), credit_trajectory([0, 0], 1.0), credit_trajectory([], 2.0)]
    assert [row.tolist() for row in center(credits, 3)] == [[1.0], [0.0, 0.0], []]


def test_center_needs_whole_groups() -> None:
    with pytest.raises(ValueError, match="whole groups of 2"):
        by_trajectory([0.0] * 3, 2)


def test_group_order_matters() -> None:
    # The same rewards in another order belong to other groups.
    assert by_trajectory([1.0, 1.0, 0.0, 0.0], 2) == [0.0] * 4
    assert by_trajectory([1.0, 0.0, 1.0, 0.0], 2) == [0.5, -0.5, 0.5, -0.5]


def test_by_step_each_is_held_against_those_who_got_as_far() -> None:
    returns = [{1: 3.0, 2: 1.0, 1001: 0.5}, {1: 1.0}, {1: 2.0, 1001: 1.5}, {1: 2.0, 2: 4.0}]
    credits = [Credit(np.array([0, *own]), own) for own in returns]
    centered = [row.tolist() for row in center(credits, 2)]
    assert centered == [[0.0, 1.0, 0.0, 0.0], [0.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_returns_hold_what_comes_later_and_nothing_that_came_before() -> None:
    line, end = 1001, 2000
    found = credit_steps(np.array([1, 1, 0, 0, 2, 2, line]), {1: 0.5, line: 2.0, end: -1.0})
    assert found.returns == {1: 1.5, 2: 1.0, line: 1.0}
    assert credit_steps(np.zeros(0, np.int64), {end: -1.0}).returns == {}


def alone(advantages: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    return whiten(advantages, sampled, token_sums(advantages, sampled))


def test_whiten_by_hand() -> None:
    # Tokens: 1 with advantage 1, 3 with -1. Mean -0.5; variance (1 * 2.25 + 3 * 0.25) / 4 = 0.75.
    found = alone(np.array([[1.0, 0.0, 0.0], [-1.0, -1.0, -1.0]]), np.array([[1, 0, 0], [1, 1, 1]]))
    assert found[0].tolist() == pytest.approx([1.5 / 0.75**0.5, 0.0, 0.0])
    assert found[1].tolist() == pytest.approx([-0.5 / 0.75**0.5] * 3)


def test_whiten_is_what_a_loop_over_tokens_gives() -> None:
    rng = np.random.default_rng(0)
    advantages, sampled = rng.normal(size=(24, 40)), rng.integers(0, 2, size=(24, 40))
    tokens = [a for a, is_sampled in zip(advantages.flat, sampled.flat, strict=True) if is_sampled]
    mean = sum(tokens) / len(tokens)
    variance = sum((t - mean) ** 2 for t in tokens) / len(tokens)
    expected = (advantages - mean) * max(variance, 1e-8) ** -0.5 * sampled
    np.testing.assert_allclose(alone(advantages, sampled), expected, atol=1e-12)


def test_sums_of_parts_whiten_like_the_whole() -> None:
    rng = np.random.default_rng(1)
    advantages, sampled = rng.normal(size=(6, 5)), rng.integers(0, 2, size=(6, 5))
    sums = sum(token_sums(advantages[part], sampled[part]) for part in (slice(0, 2), slice(2, 6)))
    np.testing.assert_allclose(whiten(advantages, sampled, sums), alone(advantages, sampled), atol=1e-12)


def test_a_batch_without_difference_teaches_nothing() -> None:
    assert not alone(np.zeros((2, 3)), np.ones((2, 3), np.int64)).any()
    assert not alone(np.ones((2, 3)), np.zeros((2, 3), np.int64)).any()


def test_groups_without_signal() -> None:
    rewards = np.array([1.0, 1.0, 0.0, 2.0, 3.0, 3.0, 5.0, 4.0])
    assert groups_without_signal(rewards, 2) == 0.5
