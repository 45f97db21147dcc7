from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from deeprec.rl.sampling import schedule, seed_of
from deeprec.rl.statistics import describe
from deeprec.types import StopReason, Trajectory, Turn


def test_schedule_uses_every_example_equally_often():
    order = schedule(pool_size=10, users_per_step=4, steps=5, seed=1)
    assert order.shape == (5, 4)
    assert set(Counter(order.ravel().tolist()).values()) == {2}
    assert sorted(order.ravel()[:10]) == list(range(10))


def test_a_longer_schedule_starts_like_a_shorter_one():
    short, long = (schedule(7, 3, steps, seed=5) for steps in (4, 40))
    np.testing.assert_array_equal(long[:4], short)
    assert not np.array_equal(schedule(7, 3, 40, seed=6), long)


def test_a_pool_smaller_than_an_iteration_is_repeated():
    assert sorted(schedule(2, 6, 1, seed=0).ravel().tolist()) == [0, 0, 0, 1, 1, 1]


def test_seeds_differ_by_place_and_fit_64_bits():
    seeds = {seed_of(seed, stage, step) for seed in (0, 1) for stage in ("a", "b") for step in range(50)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def trajectory(preferences: tuple[str, ...], stop: StopReason, mask: tuple[int, ...]) -> Trajectory:
    return Trajectory(
        user_id="1",
        prompt_ids=(1,),
        response_ids=(5,) * len(mask),
        loss_mask=mask,
        logprobs=(0.0,) * len(mask),
        prompt="",
        response="",
        turns=tuple(Turn("", text, (1,) if text else ()) for text in preferences),
        lines=(),
        ranking=(),
        stop_reason=stop,
    )


def test_figures_by_hand():
    trajectories = [
        trajectory(("Action", "1990s"), StopReason.FINISHED, (1, 1, 0, 1)),
        trajectory(("action ", "Drama", "Drama"), StopReason.FINISHED, (1, 0, 0, 1)),
        trajectory(("",), StopReason.EMPTY_PREFERENCE, (1,)),
        trajectory(("Drama",), StopReason.TOKEN_LIMIT, (1, 0)),
    ]
    parts = {
        "diversity": np.array([0.1, 0.2, 0.0, 0.0]),
        "pool": np.array([1.0, 0.0, 0.0, 0.0]),
        "hit": np.array([1.0, 0.0, 0.0, 1.0]),
    }
    found = describe(trajectories, parts, {"hit": 2.0}, rollouts_per_user=2)
    assert found["reward"] == 1.0
    assert found["reward/hit"] == found["hit_rate"] == 0.5
    assert found["validity"] == 0.5
    assert found["retrievals"] == 1.5
    assert found["tokens"] == pytest.approx((3 + 2 + 1 + 1) / 4)
    assert found["response_tokens"] == pytest.approx(11 / 4)
    assert found["groups_without_signal"] == 0.0
    assert found["preference_diversity"] == pytest.approx((0.1 + 0.2) / 2 / 0.2)
    assert found["commonest_preference"] == 0.5  # Drama: 3 of 6
    assert found["distinct_preferences"] == 0.5  # action, 1990s, drama
    assert found["pool_recall"] == 0.25
    assert found["stop/finished"] == 0.5
    assert found["stop/token_limit"] == found["stop/empty_preference"] == 0.25
    assert sum(value for name, value in found.items() if name.startswith("stop/")) == 1.0
