"""Figures of an iteration against hand counts and slow loops."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from deeprec.rl.statistics import describe, information, repeated_share
from deeprec.types import StopReason, Trajectory, Turn


def trajectory(
    preferences: tuple[str, ...] = (),
    ids: tuple[int, ...] = (1,),
    mask: tuple[int, ...] | None = None,
    lines: tuple[str, ...] = (),
    stop: StopReason = StopReason.FINISHED,
) -> Trajectory:
    return Trajectory(
        user_id="1",
        prompt_ids=(1,),
        response_ids=ids,
        loss_mask=mask if mask is not None else (1,) * len(ids),
        logprobs=(0.0,) * len(ids),
        prompt="",
        response="",
        turns=tuple(Turn("", text, (1,)) for text in preferences),
        lines=lines,
        ranking=(),
        stop_reason=stop,
    )


def described(trajectories: list[Trajectory], rollouts: int = 2) -> dict[str, float]:
    zeros = np.zeros(len(trajectories))
    parts = {"diversity": zeros, "pool": zeros, "hit": zeros}
    return describe(trajectories, parts, {"hit": 1.0}, rollouts)


def test_repetition_counts_sampled_4_grams_only():
    assert repeated_share(trajectory(ids=(1, 2, 3, 4, 5, 6))) == 0.0
    assert repeated_share(trajectory(ids=(7,) * 9)) == pytest.approx(5 / 6)  # six 4-grams, one of them new
    assert repeated_share(trajectory(ids=(1, 2, 3))) == 0.0
    # 1 2 3 4 twice, but the second time the environment wrote it, and no 4-gram crosses over.
    ids, mask = (1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3), (1,) * 4 + (0,) * 4 + (1,) * 3
    assert repeated_share(trajectory(ids=ids, mask=mask)) == 0.0
    assert repeated_share(trajectory(ids=ids[:8], mask=(1,) * 8)) == pytest.approx(1 / 5)


def test_caps_and_lines_by_hand():
    found = described(
        [
            trajectory(lines=("a", "b", "a", "a"), ids=(7,) * 9),
            trajectory(lines=("a", "b")),
            trajectory(stop=StopReason.SEGMENT_LIMIT),
            trajectory(stop=StopReason.RETRIEVAL_LIMIT),
        ]
    )
    assert found["truncated"] == 0.5
    assert found["repetition"] == pytest.approx(5 / 6 / 4)
    assert found["repeated_lines"] == pytest.approx((2 / 4 + 0) / 2)  # of those that wrote a list
    assert found["preference_entropy"] == found["preference_entropy_share"] == 0.0
    assert found["preference_information"] == found["preference_information_share"] == 0.0
    assert all(math.isfinite(value) for value in found.values())


def test_entropy_of_preferences_by_hand():
    found = described([trajectory((text,)) for text in ("Action", "action ", "Drama", "1990s")])
    assert found["preference_entropy"] == pytest.approx(1.5)  # 1/2, 1/4, 1/4
    assert found["preference_entropy_share"] == pytest.approx(1.5 / 2)
    assert found["commonest_preference"] == 0.5


def slow_information(phrases: list[list[str]], rollouts: int) -> float:
    """H(phrase) - mean H(phrase | user), in a loop over users."""

    def entropy(counts: Counter[str]) -> float:
        return -sum(n / counts.total() * math.log2(n / counts.total()) for n in counts.values())

    everything = Counter(phrase for texts in phrases for phrase in texts)
    left = 0.0
    for start in range(0, len(phrases), rollouts):
        own = Counter(phrase for texts in phrases[start : start + rollouts] for phrase in texts)
        left += own.total() / everything.total() * entropy(own) if own else 0.0
    return entropy(everything) - left


def draw(users: int, rollouts: int, loyalty: float, seed: int) -> list[list[str]]:
    """Two phrases a trajectory; with probability `loyalty` the user's own one, else anybody's."""
    rng = np.random.default_rng(seed)
    return [
        [str(user % 8 if rng.random() < loyalty else rng.integers(8)) for _ in range(2)]
        for user in range(users)
        for _ in range(rollouts)
    ]


def test_information_is_the_slow_estimate_less_what_chance_yields():
    phrases = draw(16, 4, 0.5, seed=1)
    rng = np.random.default_rng(0)
    shuffled = [
        slow_information([phrases[i] for i in np.argsort(rng.permutation(64) // 4, kind="stable")], 4)
        for _ in range(200)
    ]
    expected = slow_information(phrases, 4) - np.mean(shuffled)
    assert information(phrases, 4)["preference_information"] == pytest.approx(expected, abs=0.03)


def test_information_is_near_zero_without_dependence_and_whole_with_it():
    free = [information(draw(32, 8, 0.0, seed), 8) for seed in range(5)]
    assert abs(np.mean([found["preference_information"] for found in free])) < 0.02
    # Uncorrected, the same counts seem to carry a fifth of a bit and more.
    assert min(slow_information(draw(32, 8, 0.0, seed), 8) for seed in range(5)) > 0.2
    bound = information(draw(32, 8, 1.0, 0), 8)
    assert bound["preference_information_share"] == pytest.approx(1.0)
    assert 2.0 < bound["preference_information"] < 3.0  # 3 bits, less what chance yields
    between = information(draw(32, 8, 0.3, 0), 8)["preference_information_share"]
    assert 0.05 < between < 0.3


def test_where_every_phrase_is_new_nothing_can_be_told():
    found = information([[f"{number}"] for number in range(32)], 8)
    assert found["preference_information"] == pytest.approx(0.0, abs=1e-9)
    assert found["preference_information_share"] == 0.0


def test_phrases_are_what_stands_between_semicolons():
    whole = described([trajectory((text,)) for text in ("A; b", "B ;a", "c", "C;")])
    apart = information([["a", "b"], ["b", "a"], ["c"], ["c"]], 2)
    assert whole["preference_information"] == apart["preference_information"]
