"""REINFORCE++ with the group mean as baseline: from rewards to advantages, as pure functions.

Two steps: subtract each group's mean, then whiten over all sampled tokens of the batch.
Order matters: rewards of one group stand together. Credit goes to the whole trajectory
(as published), or to each step by what is still earned from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

VARIANCE_FLOOR = 1e-8


def center(rewards: Floats, rollouts_per_user: int) -> NDArray[np.float64]:
    """Subtract from each reward (U * G,) the mean over its group of G neighbours.

    Raises ValueError when the rewards don't divide into whole groups.

    >>> center(np.array([1.0, 0.0, 2.0, 2.0]), 2).tolist()
    [0.5, -0.5, 0.0, 0.0]
    """
    if rewards.ndim != 1 or len(rewards) % rollouts_per_user:
        raise ValueError(f"{rewards.shape} rewards don't make whole groups of {rollouts_per_user}")
    grouped = np.asarray(rewards, dtype=np.float64).reshape(-1, rollouts_per_user)  # (U, G)
    centered: NDArray[np.float64] = grouped - grouped.mean(axis=1, keepdims=True)
    return centered.ravel()


def center_by_step(returns: Sequence[Mapping[int, float]], rollouts_per_user: int) -> list[dict[int, float]]:
    """Subtract from each return-to-go the mean over those of its group that have the same step.

    `returns[n]` maps the steps of trajectory n to what is earned from there on. A baseline may
    depend on the other rollouts of the group: it leaves the gradient's expectation as it is.

    >>> center_by_step([{1: 3.0, 2: 1.0}, {1: 1.0}], 2)
    [{1: 1.0, 2: 0.0}, {1: -1.0}]
    """
    if len(returns) % rollouts_per_user:
        raise ValueError(f"{len(returns)} trajectories don't make whole groups of {rollouts_per_user}")
    centered = []
    for start in range(0, len(returns), rollouts_per_user):
        group = returns[start : start + rollouts_per_user]
        values: dict[int, list[float]] = {}
        for own in group:
            for step, value in own.items():
                values.setdefault(step, []).append(value)
        means = {step: sum(found) / len(found) for step, found in values.items()}
        centered += [{step: value - means[step] for step, value in own.items()} for own in group]
    return centered


def whiten(advantages: Floats, sampled_tokens: NDArray[np.integer]) -> NDArray[np.float64]:
    """Zero mean and unit variance over all sampled tokens of the batch.

    Every sampled token of a trajectory carries its trajectory's advantage, so mean and
    (biased) variance weigh each of the N advantages by its count of sampled tokens. The
    variance has a floor: a batch without any difference yields zeros.
    """
    counts = np.asarray(sampled_tokens, dtype=np.float64)
    total = counts.sum()
    if total == 0:
        return np.zeros(len(advantages))
    mean = (advantages * counts).sum() / total
    variance = (np.square(advantages - mean) * counts).sum() / total
    return np.asarray((advantages - mean) / np.sqrt(max(variance, VARIANCE_FLOOR)), dtype=np.float64)


def groups_without_signal(rewards: Floats, rollouts_per_user: int) -> float:
    """Share of groups whose G rewards are all equal, so that they teach nothing.

    >>> groups_without_signal(np.array([1.0, 0.0, 2.0, 2.0]), 2)
    0.5
    """
    spread = np.ptp(np.asarray(rewards).reshape(-1, rollouts_per_user), axis=1)
    return float((spread < 1e-9).mean())
