"""Settings of the choice of RL examples."""

from __future__ import annotations

from pydantic import Field

from deeprec.settings.effect import RL, changes
from deeprec.settings.section import Fraction, Positive, Section


class SelectionConfig(Section):
    """Which RL examples are worth training on (difficulty, paper: data selection)."""

    effect = changes(*RL)

    max_rank: Positive = Field(100, description="Targets that the TRM ranks below this are discarded.")
    stage_one_share: Fraction = Field(0.2, description="Share of the selected examples kept for stage 1.")
