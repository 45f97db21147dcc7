"""Settings of the held-out evaluation."""

from __future__ import annotations

from pydantic import Field

from deeprec.settings.effect import EVALUATION, changes
from deeprec.settings.section import Positive, Section


class EvaluationConfig(Section):
    """Held-out evaluation over the whole catalogue."""

    effect = changes(EVALUATION)

    max_users: Positive | None = Field(None, description="Evaluate a random sample of this many users.")
    methods: tuple[str, ...] = Field((), description="Methods to evaluate; none: all that the run knows.")
    sampled: bool = Field(
        True, description="Whether policies are sampled besides, for the reward that training raises."
    )
    bootstrap: Positive = Field(2000, description="Resamples of the paired bootstrap.")
    permutations: Positive = Field(
        9999, description="Sign flips that a paired test draws: its smallest p-value is 1 / (1 + this)."
    )
    shown_trajectories: Positive = Field(10, description="Users whose trajectories the report shows.")
