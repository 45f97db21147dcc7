"""What counts as collapsed, iteration by iteration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeprec.config import RLConfig
from deeprec.errors import TrainingError


@dataclass(frozen=True)
class Symptom:
    """One way to collapse: a figure of an iteration beyond its limit."""

    figure: str
    limit: float
    is_low: bool  # whether values below the limit are the symptom
    setting: str
    words: str
    remedy: str

    def shows(self, figures: Mapping[str, Any]) -> bool:
        """Whether an iteration with these figures has it; one that wasn't logged doesn't."""
        value = float(figures.get(self.figure, math.nan))
        return value < self.limit if self.is_low else value > self.limit


def symptoms(config: RLConfig) -> tuple[Symptom, ...]:
    """What counts as collapsed under these settings."""
    return tuple(
        Symptom(figure, limit, figure != "repetition", f"rl.collapse.{figure}", *_TOLD[figure])
        for figure, limit in config.collapse.items()
        if figure in _TOLD
    )


def refuse_unready(stage: str, figures: Mapping[str, float], least: float) -> None:
    """Raise TrainingError for a policy of whose validation trajectories too few are valid for RL to begin.

    What is not valid earns nothing but for its form: the stage would learn to speak, slowly, from a handful of lists.
    """
    validity = figures.get("heldout/validity", math.nan)
    if validity < least:
        raise TrainingError(
            f"stage '{stage}': only {validity:.0%} of the trajectories on validation users are valid, less than "
            f"rl.collapse.start = {least:g}, so nothing was trained. Let the warm start speak longer "
            "(warm_start.script_steps, and warm_start.minutes where it is set), or, to train all the same, "
            "set rl.collapse={validity = 0.05, entropy = 0.01, repetition = 0.5}"
        )


# In words, and what to do.
_TOLD: dict[str, tuple[str, str]] = {
    "validity": (
        "next to no trajectory is valid any more",
        "lower rl.learning_rate, or train the warm start longer",
    ),
    "entropy": (
        "the policy no longer varies what it writes",
        "lower rl.learning_rate, or raise rollout.temperature",
    ),
    "repetition": (
        "the policy repeats itself",
        "lower rl.learning_rate, or rollout.segment_tokens so that rambling ends sooner",
    ),
}
