"""One machine: a stage of reinforcement learning by TRL's trainer."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprec.config import RLConfig, StageConfig
from deeprec.device import check_one_gpu, check_one_process
from deeprec.disk import drop_rows
from deeprec.errors import ConfigError
from deeprec.progress import progress_bar
from deeprec.rl.best import BestPolicy
from deeprec.rl.callbacks import (
    COLLAPSED,
    CheckpointMarker,
    CollapseGuard,
    Evaluate,
    IterationLog,
    check_collapsed,
    latest_checkpoint,
    restore_rows,
)
from deeprec.rl.extras import require_extra
from deeprec.rl.failures import named_failures, raised_by_callers
from deeprec.rl.sampling import Sampler, schedule, seed_of

if TYPE_CHECKING:
    from trl import GRPOConfig

    from deeprec.policy.loading import Policy
    from deeprec.rl.list_term import ListTerm
    from deeprec.rl.trainer import DeepRecTrainer

MAX_GRAD_NORM = 1.0  # gradients are clipped to it
ADAM_BETA2 = 0.95  # memory of squared gradients (published)


@dataclass(frozen=True)
class StagePlan:
    """Where a stage keeps its files, and how long and how it trains."""

    config: RLConfig
    stage: StageConfig
    checkpoints: Path
    metrics: Path
    tensorboard: Path
    least: float = 0.0  # share of valid validation trajectories that the stage begins with

    @property
    def trajectories_per_step(self) -> int:
        """Trajectories of an iteration."""
        return self.config.users_per_step * self.config.rollouts_per_user

    @property
    def trajectories_per_pass(self) -> int:
        """Most trajectories, up to the configured number, that divide an update evenly.

        Raises ConfigError when an iteration can't be cut into its updates.
        """
        updates = self.config.updates_per_step
        if self.trajectories_per_step % updates:
            raise ConfigError(
                f"rl.updates_per_step = {updates} doesn't divide an iteration of "
                f"{self.trajectories_per_step} trajectories (rl.users_per_step x rl.rollouts_per_user)"
            )
        per_update = self.trajectories_per_step // updates
        # Equal passes: TRL weighs each alike, so that a short last one would count for too much.
        fitting = range(1, min(per_update, self.config.trajectories_per_pass) + 1)
        return max(size for size in fitting if per_update % size == 0)


def train_stage(
    policy: Policy,
    sampler: Sampler,
    plan: StagePlan,
    evaluate: Evaluate | None = None,
) -> None:
    """Train `policy` in place for the stage's iterations; go on from a checkpoint if there is one.

    An interrupted stage ends with the weights of an uninterrupted one. Checkpoints stay
    until the caller removes them. Raises TrainingError when the loss is not a number or
    the policy has collapsed or memory or disk run out, MissingExtraError without the extra
    `train`, ConfigError where several processes or GPUs would share the work.
    """
    require_extra()
    check_one_process()
    check_one_gpu()
    collapsed = plan.checkpoints / COLLAPSED
    check_collapsed(collapsed, plan.config)
    resumed = latest_checkpoint(plan.checkpoints)
    done = resumed[1] // plan.config.updates_per_step if resumed else -1
    logs = (plan.metrics, sampler.trajectories_file)
    for file in logs:
        if resumed:
            restore_rows(file, sampler.stage, resumed[0])
        else:
            drop_rows(file, sampler.stage)
    from torch.utils.tensorboard import SummaryWriter

    with (
        quiet_libraries(),
        raised_by_callers(),
        SummaryWriter(str(plan.tensorboard), purge_step=max(done + 1, 0)) as writer,
        progress_bar(f"RL: {sampler.stage.replace('_', ' ')}", plan.stage.steps) as bar,
    ):
        best = None
        if plan.stage.patience is not None and evaluate is not None:
            best = BestPolicy(plan.checkpoints, plan.stage.patience)
        log = IterationLog(
            sampler,
            plan.metrics,
            writer,
            bar,
            updates_per_step=plan.config.updates_per_step,
            evaluate=evaluate,
            evaluate_every=plan.config.evaluate_every,
            best=best,
            least=plan.least,
        )
        guard = CollapseGuard(sampler, plan.metrics, plan.config, collapsed)
        marker = CheckpointMarker(sampler.stage, logs)
        trainer = build_trainer(policy, sampler, plan, [log, guard, marker])
        with named_failures(plan.checkpoints, _out_of_memory(plan, sampler)):
            trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
    # TRL puts a forward of its own in front of the model's.
    vars(policy.model).pop("forward", None)
    if best is not None:
        best.restore(policy.model)


def _out_of_memory(plan: StagePlan, sampler: Sampler) -> str:
    return (
        f"stage '{sampler.stage}': out of memory; lower rl.trajectories_per_pass "
        f"({plan.trajectories_per_pass} in a pass now; results stay the same) or set rl.gradient_checkpointing = true, "
        f"and if it was while sampling, lower rollout.users_per_batch ({sampler.environment.config.users_per_batch} "
        "now). None of the three changes what is learned: with them the stage goes on from its last checkpoint, and "
        "the stages before it stay as they are"
    )


def build_trainer(
    policy: Policy,
    sampler: Sampler,
    plan: StagePlan,
    callbacks: Sequence[Any],
) -> DeepRecTrainer:
    """The trainer of a stage, ready to train; raises ConfigError for sizes that don't divide."""
    from datasets import Dataset
    from transformers import PrinterCallback

    from deeprec.rl.trainer import DeepRecTrainer

    order = schedule(len(sampler.examples), plan.config.users_per_step, plan.stage.steps, sampler.seed)
    trainer = DeepRecTrainer(
        sampler,
        plan.config.updates_per_step,
        _list_term(policy, sampler, plan),
        model=policy.model,
        args=trl_config(plan, sampler),
        train_dataset=Dataset.from_dict({"prompt": [str(position) for position in order.ravel()]}),
        processing_class=policy.tokenizer,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _list_term(policy: Policy, sampler: Sampler, plan: StagePlan) -> ListTerm | None:
    """What drawn lists and the pull add to the loss; None where there is neither."""
    from deeprec.rl.list_term import ListTerm

    environment = sampler.environment
    if environment.config.list != "masked" and not plan.stage.pull:
        return None
    return ListTerm(
        policy,
        environment.dataset.catalog,
        temperature=environment.config.temperature,
        clip=plan.config.clip,
        weight=plan.stage.pull,
    )


def trl_config(plan: StagePlan, sampler: Sampler) -> GRPOConfig:
    """The clipped loss of REINFORCE++ in TRL's terms; advantages are the trainer's own."""
    import torch
    from trl import GRPOConfig

    config, rollout = plan.config, sampler.environment.config
    on_gpu = torch.cuda.is_available()
    passes = plan.trajectories_per_step // plan.trajectories_per_pass
    return GRPOConfig(
        output_dir=str(plan.checkpoints),
        max_steps=plan.stage.steps * config.updates_per_step,
        per_device_train_batch_size=plan.trajectories_per_pass,
        steps_per_generation=passes,
        gradient_accumulation_steps=passes // config.updates_per_step,
        num_generations=config.rollouts_per_user,
        max_completion_length=rollout.response_tokens,
        temperature=rollout.temperature,
        scale_rewards="none",
        loss_type="dapo",
        beta=0.0,
        epsilon=config.clip[0],
        epsilon_high=config.clip[1],
        num_iterations=1,
        learning_rate=plan.stage.learning_rate or config.learning_rate,
        lr_scheduler_type="constant",
        max_grad_norm=MAX_GRAD_NORM,
        adam_beta2=ADAM_BETA2,
        save_strategy="steps",
        save_steps=config.save_every * config.updates_per_step,
        save_total_limit=2,
        logging_steps=config.updates_per_step,
        logging_nan_inf_filter=False,
        shuffle_dataset=False,  # the schedule is shuffled already
        remove_unused_columns=False,
        dataloader_pin_memory=on_gpu,
        use_cpu=not on_gpu,
        bf16=config.autocast,  # weights keep the type that they were loaded in
        gradient_checkpointing=config.gradient_checkpointing,
        report_to="none",
        disable_tqdm=True,
        seed=seed_of(sampler.seed, sampler.stage) % 2**31,
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """No notices of TRL, transformers and their kin on the user's terminal."""
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    had_bars = is_progress_bar_enabled()
    disable_progress_bar()
    loggers = [logging.getLogger(name) for name in ("trl", "transformers", "accelerate", "datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if had_bars:
            enable_progress_bar()
