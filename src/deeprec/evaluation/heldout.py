"""Held-out figures of a policy while it trains: greedy, on the same validation users each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deeprec.config import StageConfig
from deeprec.data.dataset import Dataset
from deeprec.evaluation.evaluate import choose_examples, heldout_evaluator
from deeprec.rewards.mixture import reward_parts
from deeprec.rl.stage import StageName, reward_space
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from deeprec.trm.base import ExplorableRetriever

# Runs of other seeds are watched on the same users.
_SEED = 0


def build_heldout(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: StageName
) -> Callable[[PreTrainedModel, PreTrainedTokenizerBase], dict[str, float]]:
    """What `run_rl` takes as its evaluator: `rl.evaluate_users` validation users, decoded greedily.

    Rewards are mixed by the stage's weights. Nothing that the training draws depends on it.
    """
    config = run.config
    settings: StageConfig = getattr(config.rl, stage)
    examples, _ = choose_examples(dataset, "validation", config.rl.evaluate_users, _SEED)
    space = reward_space(run, dataset, trm)

    def evaluate(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
        from deeprec.rollout.codec import TokenizerCodec
        from deeprec.rollout.engines.build import build_engine
        from deeprec.rollout.lists import ListWriter

        codec = TokenizerCodec(tokenizer)
        engine = build_engine(config, model, codec, seed=_SEED)
        lists = ListWriter(model, codec, dataset.catalog)
        environment = Environment(dataset, trm, engine, codec, config.rollout, lists=lists)
        trajectories = run_episodes(examples, environment, greedy=True, ranking=config.inference.ranking)
        return heldout_evaluator(
            trajectories, examples, reward_parts(trajectories, examples, space), settings.weights
        )

    return evaluate
