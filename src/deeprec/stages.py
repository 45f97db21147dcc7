"""The stages of a run: what they are called, in what order they stand, and which command runs each."""

from __future__ import annotations

from typing import Final, Literal

from deeprec.errors import RunError

RLStage = Literal["cold_start", "recommendation"]

DATA: Final = "data"
TRM: Final = "trm"
TRM_REFIT: Final = "trm_refit"
WARM_START: Final = "warm_start"
COLD_START: Final = "cold_start"
RECOMMENDATION: Final = "recommendation"
EVALUATION: Final = "evaluation"
RIVAL: Final = "rival:"  # what the stage of a rival is called: `rival:ease`

# No stage, but a folder beside the stages' own: the policy as the warm start had let it read histories.
READING: Final = "reading"

RL_STAGES: tuple[RLStage, ...] = (COLD_START, RECOMMENDATION)
POLICY_STAGES: tuple[str, ...] = (WARM_START, *RL_STAGES)  # each leaves a policy
STAGES = (DATA, TRM, TRM_REFIT, *POLICY_STAGES, EVALUATION)
EARLIER = STAGES[:-1]  # what an evaluation may stand on, besides rivals

_COMMANDS = {
    DATA: "deeprec data prepare",
    TRM: "deeprec trm fit",
    TRM_REFIT: "deeprec trm refit",
    WARM_START: "deeprec policy init",
    COLD_START: f"deeprec train --stage {COLD_START}",
    RECOMMENDATION: "deeprec train",
    EVALUATION: "deeprec evaluate",
}


def command_of(stage: str) -> str:
    """The command that runs a stage, a rival's included.

    >>> command_of("trm"), command_of("rival:ease")
    ('deeprec trm fit', 'deeprec rival fit ease')
    """
    if stage.startswith(RIVAL):
        return f"deeprec rival fit {stage.removeprefix(RIVAL)}"
    return _COMMANDS[stage]


def rl_stage(name: str) -> RLStage:
    """A stage of RL by its name; raises RunError for another."""
    for stage in RL_STAGES:
        if stage == name:
            return stage
    raise RunError(f"stage '{name}': is none of RL; choose {' or '.join(RL_STAGES)}")
