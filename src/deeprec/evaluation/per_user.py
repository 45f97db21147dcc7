"""What each answer is worth: per-user columns of every metric, from recommendations and their targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec import metrics
from deeprec.errors import EvaluationError
from deeprec.evaluation.behaviour import policy_columns
from deeprec.evaluation.beyond import Yardstick, history_popularity, list_columns, padded
from deeprec.evaluation.comparison import Columns
from deeprec.recommender import Recommendation
from deeprec.types import Example, Trajectory

RewardFunction = Callable[[Sequence[Trajectory], Sequence[Example]], Mapping[str, NDArray[np.float64]]]


def counted_ranking(answer: Recommendation) -> tuple[int, ...]:
    """The ranking that counts: none at all where the answer is not valid."""
    valid = answer.is_valid if answer.trajectory is None else answer.trajectory.is_valid
    return answer.ranking if valid else ()


def answer_columns(
    answers: Sequence[Recommendation],
    examples: Sequence[Example],
    k: int,
    yardstick: Yardstick,
    rewards: RewardFunction | None = None,
) -> Columns:
    """Every per-user column (U,) of one method; MethodSummary names them."""
    rankings = [counted_ranking(answer)[:k] for answer in answers]
    columns = ranking_columns(rankings, examples)
    columns |= list_columns(padded(rankings, k), yardstick)
    columns["history_popularity"] = history_popularity(examples, yardstick)
    trajectories = trajectories_of(answers)
    if trajectories:
        columns |= policy_columns(trajectories, examples)
        if rewards is not None:
            columns |= reward_columns(rewards(trajectories, examples))
    else:
        columns |= _text_columns(answers)
    return columns


def ranking_columns(rankings: Sequence[Sequence[int]], examples: Sequence[Example]) -> Columns:
    """The ranking metrics (U,) of rankings that are cut already."""
    return metrics.ranking_metrics(rankings, [example.target for example in examples])


def reward_columns(parts: Mapping[str, NDArray[np.float64]]) -> Columns:
    """Reward parts by name as columns `reward/NAME`."""
    return {f"reward/{name}": np.asarray(values, dtype=np.float64) for name, values in parts.items()}


def trajectories_of(answers: Sequence[Recommendation]) -> list[Trajectory]:
    """The trajectories behind the answers: one for each, or none at all."""
    found = [answer.trajectory for answer in answers if answer.trajectory is not None]
    if found and len(found) < len(answers):
        raise EvaluationError(f"only {len(found)} of {len(answers)} answers come with a trajectory")
    return found


def _text_columns(answers: Sequence[Recommendation]) -> Columns:
    """`validity` and `tokens` of a method that writes text without trajectories; nothing for another.

    An answer without tokens beside others that have some took no call of the model: 0.
    """
    written = any(answer.tokens is not None for answer in answers)
    if not written and all(answer.is_valid for answer in answers):
        return {}
    columns = {"validity": np.array([float(answer.is_valid) for answer in answers])}
    if written:
        columns["tokens"] = np.array([float(answer.tokens or 0) for answer in answers])
    return columns
