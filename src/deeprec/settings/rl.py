"""Settings of the two RL stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from deeprec.settings.effect import (
    COLD_START,
    EVALUATION,
    ONE_SHOT_RL,
    RECOMMENDATION,
    RL,
    SHOWN,
    SPEED,
    changes,
)
from deeprec.settings.section import Positive, Section

if TYPE_CHECKING:
    from deeprec.settings.run import RunConfig


def _masks(run: RunConfig) -> bool:
    return run.rollout.list == "masked"


# Where a stage stops by validation, its weights depend on when it is looked at, and on whom.
_WATCHED = (
    SHOWN,
    changes(COLD_START, when=lambda run: run.rl.cold_start.patience is not None),
    changes(RECOMMENDATION, when=lambda run: run.rl.recommendation.patience is not None),
)
_WEIGHTS = (
    "Weight of every reward part in use, ours or `package.module:function`; parts left out weigh nothing."
)


class StageConfig(Section):
    """One RL stage: how long, and what each reward part weighs."""

    effect = changes(*RL)

    steps: int = Field(20, ge=0, description="Iterations: each samples users_per_step x rollouts_per_user.")
    learning_rate: float | None = Field(None, gt=0, description="Overrides rl.learning_rate in this stage.")
    weights: dict[str, float] = Field(
        default_factory=dict,
        description=_WEIGHTS,
    )
    pull: float = Field(
        0.0,
        ge=0,
        description="Weight of the divergence from the policy that the stage starts from, in nats per sampled token "
        "and per title of a masked list.",
    )
    patience: Positive | None = Field(
        None,
        description="Stop after this many held-out evaluations without a better NDCG@10, and keep the best policy; "
        "none: all steps, and the last policy.",
    )


class ColdStartConfig(StageConfig):
    """Stage 1: the policy learns to talk to the TRM; process rewards only."""

    effect = changes(COLD_START)

    weights: Annotated[dict[str, float], changes(COLD_START, EVALUATION)] = Field(
        default={"format": 1.0, "invocation": 1.0, "diversity": 1.0},
        description=_WEIGHTS,
    )


class RecommendationConfig(StageConfig):
    """Stage 2: the policy learns to recommend; recommendation format and outcome rewards only."""

    effect = changes(RECOMMENDATION)

    steps: int = Field(80, ge=0, description="Iterations: each samples users_per_step x rollouts_per_user.")
    learning_rate: Annotated[float | None, changes(RECOMMENDATION, ONE_SHOT_RL)] = Field(
        None, gt=0, description="Overrides rl.learning_rate in this stage."
    )
    weights: Annotated[dict[str, float], changes(RECOMMENDATION, ONE_SHOT_RL, EVALUATION)] = Field(
        default={"list_format": 1.0, "hit": 1.0, "rank": 1.0, "similarity": 1.0},
        description=_WEIGHTS,
    )


class RLConfig(Section):
    """Two-stage REINFORCE++ with a group-mean baseline, run by TRL."""

    effect = changes(*RL, ONE_SHOT_RL)

    users_per_step: Positive = Field(32, description="Prompts per iteration (published: 128).")
    rollouts_per_user: int = Field(8, ge=2, description="Trajectories per prompt: a group.")
    credit: Literal["trajectory", "step"] = Field(
        "trajectory",
        description="A trajectory's reward counts for all its tokens (published), or each turn and list line "
        "gets what is earned from there on.",
    )
    lists_per_trajectory: Annotated[Positive, changes(*RL, when=_masks)] = Field(
        16,
        description="Masked lists that are drawn of each trajectory to learn from; the first is its own. They share "
        "one pass.",
    )
    updates_per_step: Positive = Field(1, description="Optimizer batches per iteration (published: 2).")
    learning_rate: Annotated[
        float,
        changes(COLD_START, when=lambda run: run.rl.cold_start.learning_rate is None),
        changes(RECOMMENDATION, ONE_SHOT_RL, when=lambda run: run.rl.recommendation.learning_rate is None),
    ] = Field(1e-4, gt=0, description="Constant learning rate (published: 1e-6).")
    clip: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(
        (0.2, 0.28), description="PPO clipping below and above 1."
    )
    trajectories_per_pass: Annotated[Positive, SPEED] = Field(
        16, description="Trajectories in one forward and backward pass at most: bounds memory, not results."
    )
    gradient_checkpointing: Annotated[bool, SPEED] = Field(
        False, description="Recompute activations: less memory, more time."
    )
    autocast: Annotated[bool, changes(*RL, ONE_SHOT_RL, when=lambda run: run.rl.autocast)] = Field(
        False,
        description="Compute in bfloat16 around float32 weights: as fast, and small updates are not rounded away.",
    )
    save_every: Annotated[Positive, SHOWN] = Field(10, description="Iterations between checkpoints.")
    evaluate_every: Annotated[Positive, *_WATCHED] = Field(
        20, description="Iterations between held-out evaluations."
    )
    evaluate_users: Annotated[Positive, *_WATCHED] = Field(
        128, description="Validation users in such an evaluation."
    )
    collapse_steps: Annotated[Positive, SHOWN] = Field(
        10, description="Stop when a limit of `collapse` is passed in this many iterations in a row."
    )
    collapse: Annotated[dict[Literal["start", "validity", "entropy", "repetition"], float], SHOWN] = Field(
        default={"start": 0.9, "validity": 0.05, "entropy": 0.01, "repetition": 0.5},
        description="Limits by figure: collapsed is what has fewer valid trajectories than that, less entropy (nats "
        "per sampled token), or more repeated 4-grams. A stage behind a warm start doesn't begin where fewer "
        "validation trajectories than `start` are valid. Figures left out are not watched.",
    )
    cold_start: ColdStartConfig = ColdStartConfig()
    recommendation: RecommendationConfig = RecommendationConfig()
