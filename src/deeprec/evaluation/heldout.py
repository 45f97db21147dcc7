"""Held-out figures of a policy while it trains: greedy, on the same validation users each time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from deeprec import metrics
from deeprec.config import StageConfig
from deeprec.data.dataset import Dataset
from deeprec.evaluation.behaviour import policy_columns
from deeprec.evaluation.evaluate import choose_examples
from deeprec.evaluation.per_user import ranking_columns, reward_columns
from deeprec.rewards.mixture import reward_parts
from deeprec.rewards.process import preferences_of
from deeprec.rl.stage import StageName, reward_space
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.run import Run
from deeprec.types import Example, Trajectory

if TYPE_CHECKING:
    from deeprec.trm.base import ExplorableRetriever

# Runs of other seeds are watched on the same users.
_SEED = 0


def build_heldout(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: StageName
) -> Callable[[Environment], dict[str, float]]:
    """What `run_rl` takes as its evaluator: `rl.evaluate_users` validation users, decoded greedily.

    It runs in the environment that training samples in, whose engine and lists follow the weights. Rewards are
    mixed by the stage's weights. Nothing that training draws depends on it: every iteration seeds the engine anew.
    """
    config = run.config
    settings: StageConfig = getattr(config.rl, stage)
    examples, _ = choose_examples(dataset, "validation", config.rl.evaluate_users, _SEED)
    space = reward_space(run, dataset, trm)

    def evaluate(environment: Environment) -> dict[str, float]:
        trajectories = run_episodes(examples, environment, greedy=True)
        return heldout_evaluator(
            trajectories, examples, reward_parts(trajectories, examples, space), settings.weights
        )

    return evaluate


def heldout_evaluator(
    trajectories: Sequence[Trajectory],
    examples: Sequence[Example],
    parts: Mapping[str, NDArray[np.float64]],
    weights: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """Held-out figures of one policy while it trains, as flat names for a log.

    `parts` maps reward parts to values (U,); `weights` mixes them into `heldout/reward`.
    Gives `heldout/` + each ranking metric, validity, retrievals, tokens, pool_recall,
    each reward part, commonest_preference and distinct_preferences.
    """
    rankings = [t.ranking[: metrics.CUT] if t.is_valid else () for t in trajectories]
    columns = ranking_columns(rankings, examples)
    columns |= policy_columns(trajectories, examples)
    columns |= reward_columns(parts)
    if weights is not None:
        mixed = [weight * columns[f"reward/{name}"] for name, weight in weights.items()]
        columns["reward"] = np.sum(mixed, axis=0) if mixed else np.zeros(len(examples))
    found = metrics.means(columns)
    found |= _preference_shares(trajectories)
    return {f"heldout/{name}": value for name, value in found.items()}


def _preference_shares(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Share of the commonest, and of the distinct, among all preferences written; 0 without any.

    When everyone is asked the same the former is near 1, the latter near 0.
    """
    counts = Counter(text.casefold() for t in trajectories for text in preferences_of(t))
    written = max(counts.total(), 1)
    return {
        "commonest_preference": max(counts.values(), default=0) / written,
        "distinct_preferences": len(counts) / written,
    }
