"""Process rewards: how the policy talks to the TRM, whatever it recommends in the end.

Values as in the paper's table of process rewards; each function scores one trajectory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deeprec.types import Trajectory

FORMAT_PENALTY = -1.0
INVOCATION_STEP = 0.5
INVOCATIONS_REWARDED = 3
DIVERSITY_SCALE = 0.2


def format_reward(trajectory: Trajectory) -> float:
    """0 for a well-formed trajectory, else -1. One that was cut off by a cap is not well-formed."""
    return 0.0 if trajectory.is_valid else FORMAT_PENALTY


def preferences_of(trajectory: Trajectory) -> tuple[str, ...]:
    """The preferences that the TRM retrieved for, in order; their number is m, the invocations."""
    return tuple(turn.preference for turn in trajectory.turns if turn.retrieved)


def invocation_reward(invocations: int) -> float:
    """(min(m, 3) - 1) x 0.5 from two invocations on, else 0.

    >>> [invocation_reward(m) for m in range(6)]
    [0.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    """
    if invocations < 2:
        return 0.0
    return (min(invocations, INVOCATIONS_REWARDED) - 1) * INVOCATION_STEP


def diversity_reward(preferences: NDArray[np.floating]) -> float:
    """0.2 x (1 - mean pairwise cosine) of the preference embeddings (m, D); 0 when m < 2.

    Rows have unit length, or are zero where the encoder knows no word of the text. Such a
    row counts as equal to every other one: otherwise gibberish, which is orthogonal to
    everything, would be the most diverse preference of all.
    """
    turns = len(preferences)
    if turns < 2:
        return 0.0
    cosines = preferences @ preferences.T  # (m, m)
    unknown = ~preferences.any(axis=1)
    cosines[unknown, :] = 1.0
    cosines[:, unknown] = 1.0
    first, second = np.triu_indices(turns, k=1)
    return DIVERSITY_SCALE * (1.0 - float(cosines[first, second].mean()))
