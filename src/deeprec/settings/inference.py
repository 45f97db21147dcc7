"""Settings of a trained policy in use."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from deeprec.settings.effect import EVALUATION, changes
from deeprec.settings.section import Positive, Section

Ranking = Literal["generate", "score", "constrained", "retrieved", "reranked"]


class InferenceConfig(Section):
    """How a trained policy answers. Training always samples; who writes its lists says `rollout.answer`."""

    effect = changes(EVALUATION)

    ranking: Ranking = Field(
        "generate",
        description="The list: as the policy writes it, the pool by each title's likelihood (`score`), written "
        "among pool titles only (`constrained`), the TRM's answer to the last wish (`retrieved`), or the pool by "
        "the TRM's and the policy's probabilities together (`reranked`).",
    )
    rollouts: Positive = Field(
        1, description="Trajectories a user: one is greedy; several are sampled, and their lists are merged."
    )
