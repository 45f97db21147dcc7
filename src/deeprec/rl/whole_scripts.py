"""The scripts of a warm start: as many as the settings ask for, and those alone that are whole."""

from __future__ import annotations

import numpy as np

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.policy.context import longer_context
from deeprec.policy.loading import Policy
from deeprec.progress import progress_bar
from deeprec.rl.scripts import Script, scripted_trajectories
from deeprec.rl.wish_scripts import WishScripts
from deeprec.run import Run
from deeprec.trm.base import Retriever
from deeprec.types import Example


def whole_scripts(
    run: Run,
    dataset: Dataset,
    trm: Retriever,
    policy: Policy,
    given: list[Example] | None = None,
    wishes: WishScripts | None = None,
) -> list[Script]:
    """As many scripted trajectories as the settings ask for.

    The examples that they are made from are appended to `given`.

    Left out are those that a cap cuts off, or whose list is short for want of retrieved
    items. Raises TrainingError when they are most.
    """
    settings = run.config.warm_start
    count = settings.script_steps * settings.trajectories_per_step
    rng = np.random.default_rng((run.config.seed, 101))
    context_length = policy.model.config.max_position_embeddings
    whole: list[Script] = []
    with progress_bar("Warm start: writing scripts", count) as bar:
        for chunk in scripted_trajectories(
            dataset, trm, policy.codec, run.config.rollout, count, context_length, rng, wishes=wishes
        ):
            bar.advance(len(chunk))
            if given is not None:
                given += [script.example for script in chunk]
            whole += [script for script in chunk if _is_whole(script, run.config.rollout)]
    if 2 * len(whole) < count:
        raise TrainingError(
            f"warm start: only {len(whole)} of {count} scripts are whole; raise rollout.segment_tokens, "
            f"rollout.response_tokens or rollout.retrieved, or {longer_context(run.config.policy)}"
        )
    return whole


def _is_whole(script: Script, config: RolloutConfig) -> bool:
    return script.trajectory.is_valid and len(script.trajectory.lines) == config.recommended
