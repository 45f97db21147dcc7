"""Settings of a trained policy in use."""

from __future__ import annotations

from pydantic import Field

from deeprec.settings.effect import EVALUATION, changes
from deeprec.settings.section import Positive, Section


class InferenceConfig(Section):
    """How a trained policy answers. Training always samples; who fills its lists says `rollout.list`."""

    effect = changes(EVALUATION)

    rollouts: Positive = Field(
        1, description="Trajectories a user: one is greedy; several are sampled, and their lists are merged."
    )
