"""What one iteration's trajectories tell about the health of the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.rewards.mixture import mix
from deeprec.rewards.process import DIVERSITY_SCALE, preferences_of
from deeprec.rl.advantages import groups_without_signal
from deeprec.types import StopReason, Trajectory

REPEATED_TOKENS = 4  # length of the n-grams whose repetition is counted
CAPS = (StopReason.RETRIEVAL_LIMIT, StopReason.SEGMENT_LIMIT, StopReason.TOKEN_LIMIT)
_SHUFFLES = 20  # of users, to learn how much information chance alone seems to carry


def describe(
    trajectories: Sequence[Trajectory],
    parts: Mapping[str, NDArray[np.floating]],
    weights: Mapping[str, float],
    rollouts_per_user: int,
) -> dict[str, float]:
    """Means over the iteration's N trajectories, as flat names for a log.

    Shares lie in [0, 1]. `commonest_preference` is the share of the commonest text among
    all preferences of the iteration: near 1 when the policy asks the same for everyone,
    however diverse each trajectory is. `distinct_preferences` is their number over all,
    `preference_entropy` their entropy in bits and `preference_entropy_share` that entropy over
    its greatest possible value, when no two are the same. For `preference_information` see
    `information`. `truncated` is the share that a cap ended, `repetition` the share of
    sampled 4-grams that occurred before in the same trajectory, `repeated_lines` the share
    of lines of a list that stand in it already.
    """
    rewards = mix(parts, weights)
    preferences = [preferences_of(trajectory) for trajectory in trajectories]
    stops = Counter(trajectory.stop_reason for trajectory in trajectories)
    found = {"reward": float(rewards.mean())}
    found |= {f"reward/{name}": float(values.mean()) for name, values in parts.items()}
    found |= {
        "validity": _mean([trajectory.is_valid for trajectory in trajectories]),
        "retrievals": _mean([len(texts) for texts in preferences]),
        "tokens": _mean([sum(trajectory.loss_mask) for trajectory in trajectories]),
        "response_tokens": _mean([len(trajectory.response_ids) for trajectory in trajectories]),
        "groups_without_signal": groups_without_signal(rewards, rollouts_per_user),
        "preference_diversity": _diversity(parts["diversity"], preferences),
        "commonest_preference": _commonest_share(preferences),
        "distinct_preferences": _distinct_share(preferences),
        **_spread(preferences),
        **information([_phrases(texts) for texts in preferences], rollouts_per_user),
        "truncated": sum(stops[reason] for reason in CAPS) / len(trajectories),
        "repetition": _mean([repeated_share(trajectory) for trajectory in trajectories]),
        "repeated_lines": _repeated_lines(trajectories),
        "pool_recall": float(parts["pool"].mean()),
        "hit_rate": float(parts["hit"].mean()),
    }
    return found | {f"stop/{reason}": stops[reason] / len(trajectories) for reason in StopReason}


def _diversity(rewards: NDArray[np.floating], preferences: Sequence[Sequence[str]]) -> float:
    """Mean of 1 - cosine over trajectories with at least two preferences; 0 if there are none."""
    several = np.array([len(texts) > 1 for texts in preferences])
    return float(rewards[several].mean() / DIVERSITY_SCALE) if several.any() else 0.0


def _commonest_share(preferences: Sequence[Sequence[str]]) -> float:
    counts = _counts(preferences)
    return max(counts.values()) / counts.total() if counts else 0.0


def _distinct_share(preferences: Sequence[Sequence[str]]) -> float:
    counts = _counts(preferences)
    return len(counts) / counts.total() if counts else 0.0


def _counts(preferences: Sequence[Sequence[str]]) -> Counter[str]:
    return Counter(text.casefold().strip() for texts in preferences for text in texts)


def _spread(preferences: Sequence[Sequence[str]]) -> dict[str, float]:
    counts = np.array(list(_counts(preferences).values()), dtype=np.float64)
    entropy = float(_entropy(counts))
    most = np.log2(counts.sum()) if counts.sum() > 1 else 0.0
    return {
        "preference_entropy": entropy,
        "preference_entropy_share": entropy / float(most) if most else 0.0,
    }


def information(phrases: Sequence[Sequence[str]], rollouts_per_user: int) -> dict[str, float]:
    """How much a phrase of a preference tells about its user, within one iteration.

    `phrases` holds those of each trajectory (U * G,), groups together. The estimate is
    H(phrase) - mean H(phrase | user) in bits, a mutual information from counts. By itself it
    is far too high, for a user has few phrases and seems to favour them: so the mean over
    shuffles, which give each user other users' trajectories, is subtracted. What is left
    is near 0 when preferences don't depend on the user, whatever their spread; when they
    do, it is too low by what chance alone yields, at most. `preference_information_share` is
    that over its greatest possible value (adjusted mutual information): 0 by chance, 1 when
    every phrase belongs to one user.
    """
    words = sorted({phrase for texts in phrases for phrase in texts})
    code = {word: number for number, word in enumerate(words)}
    codes = np.array([code[phrase] for texts in phrases for phrase in texts], dtype=np.int64)  # (P,)
    owner = np.repeat(np.arange(len(phrases)), [len(texts) for texts in phrases])  # (P,) trajectories
    users = np.arange(len(phrases)) // rollouts_per_user
    found = _mutual_information(codes, users[owner], len(words))
    # The same shuffles every time: figures of two iterations differ by what was written alone.
    rng = np.random.default_rng(0)
    shuffled = [
        _mutual_information(codes, rng.permutation(users)[owner], len(words)) for _ in range(_SHUFFLES)
    ]
    chance = float(np.mean(shuffled))
    most = min(
        float(_entropy(np.bincount(codes, minlength=1))),
        float(_entropy(np.bincount(users[owner], minlength=1))),
    )
    # Where chance reaches the ceiling (every phrase is new), nothing can be told.
    share = (found - chance) / (most - chance) if most - chance > 1e-6 else 0.0
    return {"preference_information": found - chance, "preference_information_share": share}


def _mutual_information(codes: NDArray[np.int64], users: NDArray[np.int64], words: int) -> float:
    """H(phrase) - mean H(phrase | user) in bits, each user weighing as many phrases as it has.

    H(c) = - sum of p log2 p with p = c / sum c, of counts c.
    """
    if not len(codes):
        return 0.0
    counts = np.bincount(users * words + codes, minlength=(int(users.max()) + 1) * words).reshape(-1, words)
    shares = counts.sum(axis=1) / len(codes)  # (U,)
    return float(_entropy(counts.sum(axis=0)) - (shares * _entropy(counts)).sum())


def _entropy(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Entropy in bits over the last axis of counts; 0 where there are none."""
    totals = counts.sum(axis=-1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    logs = np.log2(shares, where=shares > 0, out=np.zeros(shares.shape))
    return np.asarray(np.abs(-(shares * logs).sum(axis=-1)))


def repeated_share(trajectory: Trajectory) -> float:
    """Share of a trajectory's sampled n-grams that occurred before in it; 0 when there are none.

    An n-gram never reaches across what the environment wrote: a list says the same names again.
    """
    grams = [
        ids[start : start + REPEATED_TOKENS]
        for ids in _sampled_stretches(trajectory)
        for start in range(len(ids) - REPEATED_TOKENS + 1)
    ]
    return 1.0 - len(set(grams)) / len(grams) if grams else 0.0


def _sampled_stretches(trajectory: Trajectory) -> Iterator[tuple[int, ...]]:
    pairs = zip(trajectory.response_ids, trajectory.loss_mask, strict=True)
    for sampled, stretch in groupby(pairs, key=lambda pair: pair[1]):
        if sampled:
            yield tuple(token for token, _ in stretch)


def _repeated_lines(trajectories: Sequence[Trajectory]) -> float:
    shares = [1.0 - len(set(t.lines)) / len(t.lines) for t in trajectories if t.lines]
    return _mean(shares) if shares else 0.0


def _phrases(texts: Sequence[str]) -> list[str]:
    """The phrases of a trajectory's preferences: what stands between semicolons, case and edges aside."""
    parts = [part.strip() for text in texts for part in text.casefold().split(";")]
    return [part for part in parts if part]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
