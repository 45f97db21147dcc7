"""Fitting the one-shot ranker: by supervision, then by the project's own RL."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeprec.config import RolloutConfig, RunConfig, StageConfig
from deeprec.data.dataset import Dataset
from deeprec.device import best_device
from deeprec.disk import append_jsonl
from deeprec.errors import ConfigError
from deeprec.evaluation.heldout import heldout_evaluator
from deeprec.policy.environment import build_environment
from deeprec.policy.loading import Policy, load_policy, save_policy
from deeprec.policy.tiny import start_titles
from deeprec.rewards.mixture import reward_parts
from deeprec.rivals.one_shot.lessons import copy_tasks, lesson_tasks, list_documents, with_target_listed
from deeprec.rivals.one_shot.prompts import Task, build_tasks
from deeprec.rivals.one_shot.ranker import rank_tasks
from deeprec.rivals.one_shot.recommender import OneShotRecommender
from deeprec.rivals.tuning import METRIC, tuning_examples, validation_ndcg
from deeprec.rl.documents import Document, fact_documents, history_documents
from deeprec.rl.extras import require_extra
from deeprec.rl.sampling import Sampler
from deeprec.rl.stage import reward_space
from deeprec.rl.supervised import StepLog, fit_documents
from deeprec.rl.trl import StagePlan, train_stage
from deeprec.rl.warm_start import make_policy
from deeprec.rollout.environment import Environment
from deeprec.rollout.lists import ListWriter
from deeprec.run import Run
from deeprec.stages import RIVAL
from deeprec.trm.base import ExplorableRetriever
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Trajectory

POLICY = "policy"
PROMPTS = "prompts.jsonl"
TRAJECTORIES = "trajectories.jsonl"
# What a tiny model, which knows nothing, is taught besides.
TEXT_EPOCHS = 2  # over fit histories and facts as text
COPIES = 4800  # lists in the TRM's order, for pasts cut from fit histories: they teach to copy
VALIDATION_USERS = 1000  # that a fit is measured on, at most
_SHOWN = 20  # prompts that are kept for people to read


def one_shot_rollout(config: RunConfig) -> RolloutConfig:
    """The run's protocol with the one list of this family."""
    return config.rollout.model_copy(update={"retrieved": config.rivals.one_shot.candidates, "list": "free"})


def check_size(config: RunConfig, dataset: Dataset) -> None:
    """Raise ConfigError for a list of the wrong size."""
    listed, wanted, most = (
        config.rivals.one_shot.candidates,
        config.rollout.recommended,
        dataset.catalog.n_items,
    )
    if not wanted <= listed <= most:
        raise ConfigError(
            f"rivals.one_shot.candidates = {listed}: choose from {wanted} (rollout.recommended) to {most} "
            "(the catalogue)"
        )


def build_one_shot(run: Run, dataset: Dataset, trm: ExplorableRetriever, policy: Policy) -> Environment:
    """What the model ranks in. Raises ConfigError for a list of the wrong size."""
    check_size(run.config, dataset)
    return build_environment(run, dataset, trm, policy, rollout=one_shot_rollout(run.config))


def fit_supervised(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str, folder: Path, work: Path
) -> dict[str, Any]:
    """Train a new model on lists with the target at their top; leaves it and what it read in `folder`.

    `dataset` has its parts apart, so that `trm` has not seen the targets. An interrupted call
    goes on from the checkpoints in `work`.
    """
    config = run.config
    policy = _new_policy(config, dataset, trm)
    environment = build_one_shot(run, dataset, trm, policy)
    tasks = lesson_tasks(dataset, environment)
    settings = config.rivals.one_shot
    lists = list_documents(tasks, environment, target_first=settings.imitate == "target-first")
    documents = settings.epochs * lists
    if config.policy.model == "tiny":
        documents += _first_lessons(config, environment)

    fit_documents(
        policy.model,
        documents,
        pad_id=policy.tokenizer.pad_token_id,
        epochs=1,
        config=config.warm_start,
        seed=config.seed,
        folder=work,
        title=f"Supervised: {name}",
        log=StepLog(run, RIVAL + name, work),
    )
    save_policy(policy.model, policy.tokenizer, folder / POLICY)
    return _facts(run, tasks, environment, policy, name, folder)


def fit_reinforced(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, name: str, start: Path, folder: Path, work: Path
) -> dict[str, Any]:
    """Go on from the supervised model at `start` by RL with outcome rewards.

    Only prompts that hold their target are sampled for: with any other no list can be a hit. As in the
    RL stages, an interrupted call goes on from the checkpoints in `work`.
    """
    require_extra()
    config = run.config
    policy = load_policy(str(start), config.policy)
    policy.model.to(best_device())
    environment = build_one_shot(run, dataset, trm, policy)
    tasks = lesson_tasks(dataset, environment)
    pool = with_target_listed(tasks)
    sampler = ListSampler(
        environment=environment,
        space=reward_space(run, dataset, trm),
        examples=[task.example for task in pool],
        weights=config.rl.recommendation.weights,
        stage=RIVAL + name,
        seed=config.seed,
        rollouts_per_user=config.rl.rollouts_per_user,
        by_step=config.rl.credit == "step",
        # Not among the run's: there a prompt that shows its target is a leak.
        trajectories_file=work / TRAJECTORIES,
        failed_file=run.folder / "failed.jsonl",
        tasks=pool,
    )
    work.mkdir(parents=True, exist_ok=True)
    stage = StageConfig(
        steps=config.rivals.one_shot.rl_steps,
        learning_rate=config.rl.recommendation.learning_rate,
        weights=config.rl.recommendation.weights,
    )
    plan = StagePlan(config.rl, stage, work, run.metrics, run.folder / "tensorboard" / name)
    train_stage(policy, sampler, plan, _watch(sampler, config.rl.evaluate_users))
    save_policy(policy.model, policy.tokenizer, folder / POLICY)
    shutil.copyfile(work / TRAJECTORIES, folder / TRAJECTORIES)
    return _facts(run, tasks, environment, policy, name, folder) | {"steps": stage.steps}


@dataclass
class ListSampler(Sampler):
    """Samples lists in place of explorations; `tasks` are parallel to `examples`."""

    tasks: Sequence[Task] = ()

    def roll_out(self, positions: Sequence[int]) -> list[Trajectory]:
        """One sampled list for each of the tasks at `positions`, in order."""
        return rank_tasks([self.tasks[position] for position in positions], self.environment, greedy=False)


def _new_policy(config: RunConfig, dataset: Dataset, trm: ExplorableRetriever) -> Policy:
    policy = make_policy(config.model_copy(update={"rollout": one_shot_rollout(config)}), dataset)
    vectors = trm.item_vectors()
    if config.policy.model == "tiny" and vectors is not None:
        start_titles(policy.model, policy.tokenizer, dataset.catalog, vectors, config.seed)
    return policy


def _first_lessons(config: RunConfig, environment: Environment) -> list[Document]:
    """What a pretrained model knows already: what titles mean, and how to copy a list."""
    dataset, codec = environment.dataset, environment.codec
    texts = history_documents(dataset, codec, environment.config)
    texts += fact_documents(dataset.catalog, codec)
    copies = copy_tasks(environment, COPIES, config.seed)
    return TEXT_EPOCHS * texts + list_documents(copies, environment)


def _watch(sampler: Sampler, users: int) -> Callable[[], Mapping[str, float]]:
    """Held-out figures while RL goes on: greedy lists for so many validation users, at most."""
    environment = sampler.environment
    examples = tuning_examples(environment.dataset, users)
    tasks = build_tasks(examples, environment)

    def evaluate() -> Mapping[str, float]:
        written = rank_tasks(tasks, environment, greedy=True)
        parts = reward_parts(written, examples, sampler.space)
        return heldout_evaluator(written, examples, parts, sampler.weights)

    return evaluate


def _facts(
    run: Run, tasks: Sequence[Task], environment: Environment, policy: Policy, name: str, folder: Path
) -> dict[str, Any]:
    """How the fitted model does on validation beside its TRM, and a sample of what it read and wrote."""
    dataset, config = environment.dataset, run.config.rivals.one_shot
    writer = ListWriter(policy.model, policy.codec, dataset.catalog)
    recommender = OneShotRecommender(name, environment, ranking=config.ranking, writer=writer)
    examples = tuning_examples(dataset, VALIDATION_USERS)
    held_out = build_tasks(examples, environment)
    written = rank_tasks(held_out, environment, greedy=True)
    for task, trajectory in list(zip(held_out, written, strict=True))[:_SHOWN]:
        record = {
            "user_id": task.example.user_id,
            "candidates": list(task.candidates),
            "prompt": task.prompt,
            "response": trajectory.response,
            "ranking": list(trajectory.ranking),
            "stop_reason": str(trajectory.stop_reason),
            "format_errors": list(trajectory.format_errors),
        }
        append_jsonl(folder / PROMPTS, record)
    lines = [
        (item in task.candidates)
        for task, trajectory in zip(held_out, written, strict=True)
        for item in trajectory.ranking
    ]
    return {
        "examples": len(tasks),
        "with_target": len(with_target_listed(tasks)),
        "validation": {
            "users": len(examples),
            METRIC: round(validation_ndcg(recommender, examples), 5),
            f"trm {METRIC}": round(
                validation_ndcg(TRMRecommender(environment.retriever, dataset), examples), 5
            ),
            "target_among_candidates": round(len(with_target_listed(held_out)) / len(held_out), 4),
            "valid_share": round(sum(one.is_valid for one in written) / len(written), 4),
            "from_candidates": round(sum(lines) / max(len(lines), 1), 4),
            "tokens": round(sum(sum(one.loss_mask) for one in written) / len(written), 1),
        },
    }
