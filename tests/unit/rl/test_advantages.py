from __future__ import annotations

import numpy as np
import pytest

from deeprec.rl.advantages import center, center_by_step, groups_without_signal, whiten


def test_center_by_hand():
    rewards = np.array([1.0, 0.0, 2.0, 3.0, 3.0, 3.0])
    assert center(rewards, 3).tolist() == [0.0, -1.0, 1.0, 0.0, 0.0, 0.0]


def test_center_needs_whole_groups():
    with pytest.raises(ValueError, match="whole groups of 2"):
        center(np.zeros(3), 2)


def test_group_order_matters():
    # The same rewards in another order belong to other groups.
    rewards = np.array([1.0, 1.0, 0.0, 0.0])
    assert center(rewards, 2).tolist() == [0.0] * 4
    assert center(rewards[[0, 2, 1, 3]], 2).tolist() == [0.5, -0.5, 0.5, -0.5]


def test_whiten_by_hand():
    # Tokens: 1 with advantage 1, 3 with -1. Mean -0.5; variance (1 * 2.25 + 3 * 0.25) / 4 = 0.75.
    found = whiten(np.array([1.0, -1.0]), np.array([1, 3]))
    assert found.tolist() == pytest.approx([1.5 / 0.75**0.5, -0.5 / 0.75**0.5])


def test_whiten_is_what_a_loop_over_tokens_gives():
    rng = np.random.default_rng(0)
    advantages, counts = rng.normal(size=24), rng.integers(0, 40, size=24)
    tokens = [a for a, n in zip(advantages, counts, strict=True) for _ in range(n)]
    mean = sum(tokens) / len(tokens)
    variance = sum((t - mean) ** 2 for t in tokens) / len(tokens)
    expected = [(a - mean) * max(variance, 1e-8) ** -0.5 for a in advantages]
    assert whiten(advantages, counts) == pytest.approx(expected)


def test_a_batch_without_difference_teaches_nothing():
    assert whiten(np.zeros(4), np.array([3, 1, 4, 1])).tolist() == [0.0] * 4
    assert whiten(np.array([1.0, -1.0]), np.array([0, 0])).tolist() == [0.0, 0.0]


def test_groups_without_signal():
    rewards = np.array([1.0, 1.0, 0.0, 2.0, 3.0, 3.0, 5.0, 4.0])
    assert groups_without_signal(rewards, 2) == 0.5


def test_by_step_each_is_held_against_those_who_got_as_far() -> None:
    returns = [{1: 3.0, 2: 1.0, 1001: 0.5}, {1: 1.0}, {1: 2.0, 1001: 1.5}, {1: 2.0, 2: 4.0}]
    centered = center_by_step(returns, 2)
    assert centered == [{1: 1.0, 2: 0.0, 1001: 0.0}, {1: -1.0}, {1: 0.0, 1001: 0.0}, {1: 0.0, 2: 0.0}]
    with pytest.raises(ValueError, match="whole groups of 3"):
        center_by_step(returns, 3)
