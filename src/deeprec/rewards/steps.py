"""Where in a trajectory a reward was earned: shares of the mixed reward, step by step.

A step is a turn, or a line of the final list. A rank reward is earned on the target's line, a
line's similarity on that line, a second invocation by the second turn. What no step can be
named for (format, a part of one's own) counts for the end. The shares of a trajectory always
add up to its mixed reward, so that credit by step trains for the same sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from deeprec.rewards.mixture import RewardSpace
from deeprec.rewards.outcome import items_by_line, line_similarities
from deeprec.rewards.process import invocation_reward, preferences_of
from deeprec.rollout.codec import Codec
from deeprec.rollout.tags import TAGS
from deeprec.types import Example, Trajectory

LIST = 1000  # line i (from 1) of the list is LIST + i; turn t (from 1) is t
END = 2000


def steps_of_tokens(trajectory: Trajectory, codec: Codec) -> NDArray[np.int64]:
    """The step (T,) that each response token belongs to; 0 where the environment wrote it.

    Whether to ask once more or to close is one decision: the reasoning that closes counts as
    the next turn, so that both are held against each other.
    """
    steps = np.zeros(len(trajectory.response_ids), dtype=np.int64)
    segment, lines, before = 0, -1, 0
    for place, (token, sampled) in enumerate(zip(trajectory.response_ids, trajectory.loss_mask, strict=True)):
        segment += sampled > before
        before = sampled
        if not sampled:
            continue
        piece = codec.decode([token])
        if lines >= 0:
            lines += "\n" in piece
        steps[place] = LIST + lines if lines > 0 else segment
        if piece == TAGS.begin_list and segment > len(trajectory.turns):
            lines = 0
    return steps


def step_rewards(
    trajectory: Trajectory,
    example: Example,
    parts: Mapping[str, float],
    weights: Mapping[str, float],
    space: RewardSpace,
) -> dict[int, float]:
    """Step -> its share of the mixed reward of `parts`; the shares sum to that reward."""
    shares: defaultdict[int, float] = defaultdict(float)
    preferences = preferences_of(trajectory)
    if parts.get("invocation"):
        for turn in range(1, len(preferences) + 1):
            gained = invocation_reward(turn) - invocation_reward(turn - 1)
            shares[turn] += weights.get("invocation", 0.0) * gained
    if parts.get("diversity"):
        shares[len(preferences)] += weights.get("diversity", 0.0) * parts["diversity"]
    if parts.get("pool"):
        first = next(
            number for number, turn in enumerate(trajectory.turns, 1) if example.target in turn.retrieved
        )
        shares[first] += weights.get("pool", 0.0) * parts["pool"]
    if parts.get("hit") or parts.get("similarity"):
        items = items_by_line(trajectory, space.catalog)
        if parts.get("hit"):
            line = LIST + 1 + items.index(example.target)
            shares[line] += sum(weights.get(name, 0.0) * parts[name] for name in ("hit", "rank"))
        if parts.get("similarity"):
            values = line_similarities(items, example.target, space.text_vectors, space.item_vectors)
            for number, value in enumerate(values, 1):
                shares[LIST + number] += weights.get("similarity", 0.0) * float(value)
    mixed = sum(weight * parts[name] for name, weight in weights.items())
    shares[END] += mixed - sum(shares.values())
    return dict(shares)
