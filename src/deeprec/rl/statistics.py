"""What one iteration's trajectories tell about the health of the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.rewards.mixture import mix
from deeprec.rewards.process import DIVERSITY_SCALE, preferences_of
from deeprec.rl.advantages import groups_without_signal
from deeprec.types import StopReason, Trajectory


def describe(
    trajectories: Sequence[Trajectory],
    parts: Mapping[str, NDArray[np.floating]],
    weights: Mapping[str, float],
    rollouts_per_user: int,
) -> dict[str, float]:
    """Means over the iteration's N trajectories, as flat names for a log.

    Shares lie in [0, 1]. `commonest_preference` is the share of the commonest text among
    all preferences of the iteration: near 1 when the policy asks the same for everyone,
    however diverse each trajectory is. `distinct_preferences` is their number over all.
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


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
