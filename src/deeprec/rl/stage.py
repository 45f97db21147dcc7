"""The RL stages of a run: `cold_start` (stage 1) and `recommendation` (stage 2)."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

from deeprec.config import RunConfig, StageConfig
from deeprec.contents import module_files, present
from deeprec.data.dataset import Dataset
from deeprec.device import best_device
from deeprec.disk import drop_rows
from deeprec.errors import ConfigError, RunError, TrainingError
from deeprec.inputs import Inputs, constants_of
from deeprec.ledger import write_ledger
from deeprec.rewards.mixture import RewardSpace, check_weights
from deeprec.rewards.own import load_parts
from deeprec.rl.selection import Selection, select
from deeprec.run import Run, writes
from deeprec.space import LOGS, require_space
from deeprec.stages import POLICY_STAGES, RECOMMENDATION, RL_STAGES, RLStage, command_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from deeprec.policy.loading import Policy
    from deeprec.rl.sampling import Sampler
    from deeprec.rl.trl import StagePlan
    from deeprec.rollout.environment import Environment
    from deeprec.trm.base import ExplorableRetriever
    from deeprec.types import Example

    Evaluate = Callable[[Environment], Mapping[str, float]]

StageName = RLStage
STARTS_FROM = dict(zip(RL_STAGES, POLICY_STAGES, strict=False))

_TRAJECTORY = 4096  # bytes of a row of trajectories.jsonl, about


@writes
def run_rl(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: StageName, evaluate: Evaluate | None = None
) -> None:
    """Leave the stage's policy at `run.policy(stage)`; does nothing if that is up to date.

    Starts from the policy of the stage before. `evaluate` gives held-out figures of
    the policy in its environment, logged every `rl.evaluate_every` iterations. An interrupted stage goes on from
    its last checkpoint and ends as the uninterrupted one. Raises ConfigError for weights
    that make no sense, TrainingError when there is nothing to train on or training fails.
    """
    from deeprec.policy.loading import load_policy, save_policy
    from deeprec.policy.probe import training_piece
    from deeprec.rl.context import check_context
    from deeprec.rl.extras import require_extra
    from deeprec.rl.list_prior import set_priors
    from deeprec.rl.trl import train_stage
    from deeprec.threads import stage_threads

    require_extra()
    settings = stage_settings(run.config, stage)
    before = STARTS_FROM[stage]
    record = run.require(before)
    if not run.policy(before).is_dir():
        raise RunError(f"{run.policy(before)}: is gone; run `{command_of(before)} --run {run.folder}`")
    inputs = stage_inputs(run.config, dataset, stage, record["inputs"])
    if run.is_current(stage, inputs.fingerprint) and run.policy(stage).is_dir():
        return
    inputs.refuse_earlier(run)
    started = time.perf_counter()
    selection = select(dataset, trm, run.config.selection, run.config.seed)
    policy = load_policy(str(run.policy(before)), run.config.policy)
    policy.model.to(best_device())
    sampler = None
    if settings.steps:
        _refuse_early(run, dataset, policy, selection, before)
        sampler = build_sampler(run, dataset, trm, policy, stage, selection)
        check_context(sampler, run.config.policy)
    require_space(run.folder, _space(run, policy, settings), f"stage '{stage}'", [_checkpoints(run, stage)])
    inputs.begin(run)  # what is refused is refused before: a finished stage stays
    for later in list(STARTS_FROM)[list(STARTS_FROM).index(stage) + 1 :]:
        for file in (run.metrics, run.trajectories):
            drop_rows(file, later)  # they tell of a policy that this one replaces
    write_ledger(run, stage, selection.pool(stage) if sampler else ())
    if sampler:
        watch = None if evaluate is None else lambda: evaluate(sampler.environment)
        with stage_threads(run, stage, inputs.fingerprint, training_piece(policy.model)):
            train_stage(policy, sampler, build_plan(run, stage, inputs.fingerprint), watch)
        if stage == "recommendation" and run.config.rollout.list == "masked":
            set_priors(policy.model, sampler.environment, run.config.wishes)
    save_policy(policy.model, policy.tokenizer, run.policy(stage))
    minutes = (time.perf_counter() - started) / 60
    inputs.finish(run, minutes, steps=settings.steps, selection=selection.counts)
    # Last of all: until then a full disk costs no training.
    shutil.rmtree(_checkpoints(run, stage), ignore_errors=True)


def _space(run: Run, policy: Policy, settings: StageConfig) -> int:
    """Bytes that the stage needs at its fullest."""
    from deeprec.policy.sizes import checkpoint_size, policy_size

    if not settings.steps:
        return policy_size(policy) + LOGS
    trajectories = settings.steps * run.config.rl.users_per_step * run.config.rl.rollouts_per_user
    # Three checkpoints at a time: two are kept, and the next one is written before the oldest goes. Beside
    # them the best weights so far, a third of one.
    checkpoints = 3 * checkpoint_size(policy) + checkpoint_size(policy) // 3
    return checkpoints + policy_size(policy) + trajectories * _TRAJECTORY + LOGS


def _refuse_early(run: Run, dataset: Dataset, policy: Policy, selection: Selection, before: str) -> None:
    """Raise what would otherwise come out after the minutes of a stage."""
    from deeprec.policy.titles import check_titles

    if run.config.rollout.list == "free":
        check_titles(policy.codec, dataset.catalog, str(run.policy(before)))
    if run.config.rl.recommendation.steps:
        selection.pool(RECOMMENDATION)


def stage_settings(config: RunConfig, stage: StageName) -> StageConfig:
    """The stage's own section, checked. Raises ConfigError naming the key."""
    settings: StageConfig = getattr(config.rl, stage)
    if settings.steps:
        check_weights(settings.weights, f"rl.{stage}.weights")
    if config.rollout.temperature == 0:
        raise ConfigError("rollout.temperature = 0: training must sample; set it above 0 (published: 1.0)")
    return settings


def stage_inputs(config: RunConfig, dataset: Dataset, stage: StageName, before: str) -> Inputs:
    """What the stage's weights depend on; `before` is the fingerprint of the stage before."""
    from deeprec.rl import advantages, list_prior, recipe

    settings: StageConfig = getattr(config.rl, stage)
    return Inputs.of(
        config,
        stage,
        data=dataset.fingerprint,
        the_policy_that_it_starts_from=before,
        prompts=recipe.prompts(config.rollout),
        rewards=recipe.rewards(settings.weights) if settings.steps else None,
        constants_of_RL=constants_of(advantages, list_prior),
        **present(
            your_rewards=recipe.own_rewards(settings.weights) if settings.steps else {},
            your_engine=module_files([config.engine.kind]),
        ),
    )


def stage_examples(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: StageName
) -> tuple[Example, ...]:
    """What the stage trains on, with wishes where the settings ask for them."""
    from deeprec.wishes.simulated import with_wishes

    selection = select(dataset, trm, run.config.selection, run.config.seed)
    return tuple(with_wishes(selection.pool(stage), dataset, run.config.wishes, run.config.seed))


def build_sampler(
    run: Run,
    dataset: Dataset,
    trm: ExplorableRetriever,
    policy: Policy,
    stage: StageName,
    selection: Selection,
) -> Sampler:
    """What samples and scores this stage's trajectories with `policy` as it is being trained."""
    from deeprec.policy.environment import build_environment
    from deeprec.rl.sampling import Sampler
    from deeprec.wishes.simulated import with_wishes

    config = run.config
    return Sampler(
        environment=build_environment(run, dataset, trm, policy, drawn=config.rl.lists_per_trajectory),
        space=reward_space(run, dataset, trm),
        examples=with_wishes(selection.pool(stage), dataset, config.wishes, config.seed),
        weights=stage_settings(config, stage).weights,
        stage=stage,
        seed=config.seed,
        rollouts_per_user=config.rl.rollouts_per_user,
        by_step=config.rl.credit == "step",
        trajectories_file=run.trajectories,
        failed_file=run.folder / "failed.jsonl",
    )


def reward_space(run: Run, dataset: Dataset, trm: ExplorableRetriever) -> RewardSpace:
    """What this run's rewards measure with."""
    return RewardSpace(
        catalog=dataset.catalog,
        encoder=trm.encoder,
        text_vectors=trm.text_vectors(),
        item_vectors=trm.item_vectors(),
        recommended=run.config.rollout.recommended,
        own=load_parts(*(getattr(run.config.rl, stage).weights for stage in RL_STAGES)),
    )


def build_plan(run: Run, stage: StageName, inputs: str) -> StagePlan:
    """Where the stage keeps its files. Checkpoints made from other inputs are left alone until it is finished."""
    from deeprec.rl.callbacks import warn_of_others
    from deeprec.rl.trl import StagePlan

    checkpoints = _checkpoints(run, stage) / inputs
    warn_of_others(checkpoints, stage)
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{checkpoints}: can't be written ({error.strerror})") from None
    return StagePlan(
        config=run.config.rl,
        stage=stage_settings(run.config, stage),
        checkpoints=checkpoints,
        metrics=run.metrics,
        tensorboard=run.folder / "tensorboard",
        # Without a warm start it is RL that teaches the form.
        least=run.config.rl.collapse.get("start", 0.0) if run.config.warm_start.enabled else 0.0,
    )


def _checkpoints(run: Run, stage: StageName) -> Any:
    return run.folder / "policy" / f"{stage}.checkpoints"
