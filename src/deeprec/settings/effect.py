"""What a setting changes, declared where it is defined: the stages whose results it enters, or none.

A stage's fingerprint holds the settings that declare it (`RunConfig.identity`), so it is made again
exactly when one of those changes; and so is what is made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deeprec import methods, stages

if TYPE_CHECKING:
    from deeprec.settings.run import RunConfig

DATA, TRM, WARM_START, EVALUATION = stages.DATA, stages.TRM, stages.WARM_START, stages.EVALUATION
READING = stages.READING  # no stage of its own: it outlives other scripts
COLD_START, RECOMMENDATION = RL = stages.RL_STAGES
RIVALS = stages.RIVAL  # in front of a rival's name; alone it stands for every rival
ENHANCED = RIVALS + methods.LLM_ENHANCED_TRM
ONE_SHOT_SFT, ONE_SHOT_RL = RIVALS + methods.TRM_ENHANCED_SFT, RIVALS + methods.TRM_ENHANCED
TITLES, CODES = RIVALS + methods.TITLE_TOKENS, RIVALS + methods.SEMANTIC_IDS
WRITER = f"{ENHANCED}:writer"  # the tiny model that writes for it, whose texts outlive a fit


@dataclass(frozen=True, slots=True)
class Effect:
    """The stages that a setting enters; `when` says in which runs, without it in all.

    One without stages changes nothing that is kept; `note` says in the documentation what it does change.
    """

    stages: tuple[str, ...] = ()
    when: Callable[[RunConfig], bool] | None = None
    note: str = ""

    def enters(self, stage: str, config: RunConfig) -> bool:
        """Whether `stage` of a run with these settings depends on the setting."""
        names = {stage, RIVALS} if stage.startswith(RIVALS) else {stage}
        return not names.isdisjoint(self.stages) and (self.when is None or self.when(config))


def changes(*stages: str, when: Callable[[RunConfig], bool] | None = None) -> Effect:
    """The effect of a setting that these stages depend on."""
    return Effect(stages, when)


# Effects of settings that no stage depends on: finished ones stay, and an interrupted one goes on.
SPEED = Effect(note="speed and memory")
SHOWN = Effect(note="what is logged, watched or saved")
SERVICE = Effect(note="the service")
PLACE = Effect(note="the place of a file: its content counts")
