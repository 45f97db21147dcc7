"""REINFORCE++ with the group mean as baseline: from rewards to advantages, as pure functions.

The one way from a reward to an advantage:

1. Credit: which step each sampled token belongs to, and what is earned from that step on. With
   credit by trajectory (as published) the whole trajectory is one step.
2. Center: subtract the mean over the group, step by step.
3. Whiten: zero mean and unit variance over all sampled tokens of the batch.

With R(g, s) what trajectory g earns from step s on, A(g, t) = R(g, s(t)) - mean of R(h, s(t)) over the h of its
group that reach the step, and (A - mean) / deviation over the batch. Order matters: trajectories of one group
(G rollouts of one user) stand together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

# Keeps rounding from being blown up to advantages where all rewards are equal.
VARIANCE_FLOOR = 1e-8


@dataclass(frozen=True)
class Credit:
    """What the tokens of one trajectory may take credit for.

    `steps` (T,) holds the step of each response token, 0 where the environment wrote it;
    `returns` maps a step to what is earned in it and later.
    """

    steps: NDArray[np.int64]
    returns: Mapping[int, float]


def credit_trajectory(sampled: Sequence[int], reward: float) -> Credit:
    """Every sampled token (`sampled` (T,) is 1 there, else 0) takes credit for the whole reward."""
    return Credit(np.asarray(sampled, dtype=np.int64), {1: reward})


def credit_steps(steps: NDArray[np.int64], shares: Mapping[int, float]) -> Credit:
    """Tokens take credit for what is earned in their own step and later; `shares` tells how much in which.

    What a step earns says nothing about the steps before it: the expected gradient is the same, with less noise.

    >>> dict(credit_steps(np.array([1, 0, 2]), {1: 0.5, 2: 2.0, 3: -1.0}).returns)
    {1: 1.5, 2: 1.0}
    """
    own = np.unique(steps[steps > 0]).tolist()
    return Credit(steps, {step: sum(value for at, value in shares.items() if at >= step) for step in own})


def center(credits: Sequence[Credit], rollouts_per_user: int) -> list[NDArray[np.float64]]:
    """The return of each token (T,) less the mean over those rollouts of its group that got as far as its step.

    0.0 where the environment wrote. A baseline may depend on the other rollouts of the group: it leaves the
    gradient's expectation as it is. We do not divide by the group's deviation, which would inflate near-tied
    groups (arXiv 2503.20783). Raises ValueError when the trajectories don't divide into whole groups.

    >>> one, other = credit_trajectory([1, 0, 1], 1.0), credit_trajectory([1], 0.0)
    >>> [row.tolist() for row in center([one, other], 2)]
    [[0.5, 0.0, 0.5], [-0.5]]
    """
    if len(credits) % rollouts_per_user:
        raise ValueError(f"{len(credits)} trajectories don't make whole groups of {rollouts_per_user}")
    centered = []
    for start in range(0, len(credits), rollouts_per_user):
        group = credits[start : start + rollouts_per_user]
        values: defaultdict[int, list[float]] = defaultdict(list)
        for credit in group:
            for step, value in credit.returns.items():
                values[step].append(value)
        means = {step: sum(found) / len(found) for step, found in values.items()}
        for credit in group:
            above = {step: value - means[step] for step, value in credit.returns.items()}
            centered.append(np.array([above[step] if step else 0.0 for step in credit.steps.tolist()]))
    return centered


def token_sums(advantages: Floats, sampled: NDArray[np.integer]) -> NDArray[np.float64]:
    """Sum, sum of squares, and count (3,) of the advantages of sampled tokens; both are (B, T).

    Sums of several batches add up: so processes that share an iteration whiten alike.
    """
    own = np.asarray(advantages, dtype=np.float64)[sampled.astype(bool)]
    return np.array([own.sum(), np.square(own).sum(), len(own)])


def whiten(
    advantages: Floats, sampled: NDArray[np.integer], sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Advantages (B, T) with zero mean and unit (biased) variance over the tokens that `sums` is of.

    (A - m) / sqrt(max(v, 1e-8)), with m = sum A / n and v = sum A^2 / n - m^2 over n sampled tokens.
    0.0 where nothing was sampled. The variance has a floor: a batch without any difference yields zeros.
    """
    total, squares, count = sums.tolist()
    # From sums, not from the values: these are all that processes have to tell each other.
    mean = total / max(count, 1.0)
    variance = max(squares / max(count, 1.0) - mean**2, VARIANCE_FLOOR)
    whitened: NDArray[np.float64] = (
        (np.asarray(advantages, dtype=np.float64) - mean) / variance**0.5 * sampled
    )
    return whitened


def groups_without_signal(rewards: Floats, rollouts_per_user: int) -> float:
    """Share of groups whose G rewards are all equal, so that they teach nothing.

    >>> groups_without_signal(np.array([1.0, 0.0, 2.0, 2.0]), 2)
    0.5
    """
    spread = np.ptp(np.asarray(rewards).reshape(-1, rollouts_per_user), axis=1)
    return float((spread < 1e-9).mean())
