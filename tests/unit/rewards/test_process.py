from __future__ import annotations

import numpy as np
import pytest

from deeprec.rewards.process import diversity_reward, format_reward, invocation_reward, preferences_of
from deeprec.types import StopReason


def test_format_of_a_well_formed_trajectory_is_zero(make):
    assert format_reward(make()) == 0.0


@pytest.mark.parametrize(
    ("stop", "errors"),
    [
        (StopReason.FINISHED, ("no retrieval",)),
        (StopReason.FINISHED, ("role name",)),
        (StopReason.NO_LIST, ()),
        (StopReason.EMPTY_PREFERENCE, ()),
        (StopReason.RETRIEVAL_LIMIT, ()),
        (StopReason.SEGMENT_LIMIT, ()),
        (StopReason.TOKEN_LIMIT, ()),
    ],
)
def test_any_violation_costs_one(make, stop, errors):
    assert format_reward(make(stop=stop, errors=errors)) == -1.0


@pytest.mark.parametrize(("invocations", "value"), [(0, 0.0), (1, 0.0), (2, 0.5), (3, 1.0), (5, 1.0)])
def test_invocations_pay_up_to_three(invocations, value):
    assert invocation_reward(invocations) == value


def test_an_empty_preference_is_no_invocation(make):
    assert preferences_of(make(preferences=("space", ""))) == ("space",)


def test_diversity_by_hand():
    one, other = [1.0, 0.0], [0.6, 0.8]
    assert diversity_reward(np.array([one])) == 0.0
    assert diversity_reward(np.array([one, one])) == pytest.approx(0.0)
    assert diversity_reward(np.array([one, other])) == pytest.approx(0.2 * 0.4)
    # Pairs: (one, one) 1, (one, other) 0.6 twice; the mean is 2.2 / 3.
    assert diversity_reward(np.array([one, one, other])) == pytest.approx(0.2 * (1 - 2.2 / 3))
    # Opposite directions pay double.
    assert diversity_reward(np.array([one, [-1.0, 0.0]])) == pytest.approx(0.4)


def test_diversity_over_five_turns_is_a_mean_over_pairs():
    vectors = np.eye(5)
    assert diversity_reward(vectors) == pytest.approx(0.2)
    vectors[4] = vectors[3]  # one of ten pairs now agrees
    assert diversity_reward(vectors) == pytest.approx(0.2 * 0.9)


def test_gibberish_is_not_diverse():
    vectors = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert diversity_reward(vectors) == 0.0
