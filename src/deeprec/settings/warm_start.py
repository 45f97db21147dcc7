"""Settings of the supervised start."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deeprec.settings.effect import ENHANCED, ONE_SHOT_SFT, READING, SPEED, WARM_START, WRITER, changes
from deeprec.settings.section import Positive, Section

_TEACHES = changes(WARM_START, when=lambda run: run.warm_start.enabled)
_READS = changes(READING, WARM_START, when=lambda run: run.warm_start.reads)
# The steps of other models that are trained on documents, too.
_ONE_SHOT = changes(ONE_SHOT_SFT)
_TINY_WRITER = changes(ENHANCED, WRITER, when=lambda run: run.rivals.enhanced_trm.model == "tiny")


class WarmStartConfig(Section):
    """Supervised start for a policy that can't speak the format yet."""

    effect = _TEACHES

    enabled: Annotated[bool, changes(WARM_START)] = Field(
        True, description="Off for a policy that already speaks the format."
    )
    reading_epochs: Annotated[int, _READS] = Field(
        0,
        ge=0,
        description="Tiny: epochs of next-title prediction on fit histories before anything else, at most; it stops "
        "as soon as validation targets get no likelier. Then it learns to speak, held to what it has read.",
    )
    minutes: Annotated[float | None, _READS] = Field(
        None,
        gt=0,
        description="Tiny, where it reads: the minutes of the stage, at most. Half are for reading, the other half for "
        "speaking, which ends sooner once validation users get valid trajectories and lists that get worse.",
    )
    reading_learning_rate: Annotated[float | None, _READS] = Field(
        None, gt=0, description="Tiny: its learning rate; none: 4e-3, which suits widths of about a hundred."
    )
    text_epochs: int = Field(
        2,
        ge=0,
        description="Epochs over fit histories (and facts) as text, mixed into the scripts; none where the policy "
        "reads (`reading_epochs`).",
    )
    script_steps: int = Field(450, ge=0, description="Optimizer steps on scripted trajectories.")
    trajectories_per_step: Annotated[Positive, _TEACHES, _ONE_SHOT] = Field(
        16, description="Scripted trajectories per optimizer step."
    )
    learning_rate: Annotated[float, _TEACHES, _ONE_SHOT, _TINY_WRITER] = Field(
        4e-3, gt=0, description="Peak learning rate."
    )
    gradient_checkpointing: Annotated[bool, SPEED] = Field(
        False, description="Recompute activations: less memory, more time, the same weights."
    )

    @property
    def reads(self) -> bool:
        """Whether the policy reads histories first, and goes on while it learns to speak."""
        return self.enabled and self.reading_epochs > 0
