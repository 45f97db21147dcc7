"""Settings of the supervised start."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from deeprec.settings.section import Positive, Section

_READING = {"reading_epochs", "reading_minutes", "reading_learning_rate"}


class WarmStartConfig(Section):
    """Supervised start for a policy that can't speak the format yet."""

    enabled: bool = Field(True, description="Off for a policy that already speaks the format.")
    reading_epochs: int = Field(
        0,
        ge=0,
        description="Tiny: epochs of next-title prediction on fit histories before anything else, at most; it stops "
        "as soon as validation NDCG@10 no longer rises. For `rollout.answer = reranked`.",
    )
    reading_minutes: float | None = Field(
        None, gt=0, description="Tiny: no such epoch begins after so many minutes."
    )
    reading_learning_rate: float | None = Field(
        None, gt=0, description="Tiny: its learning rate; none: 4e-3, which suits widths of about a hundred."
    )
    text_epochs: int = Field(
        2,
        ge=0,
        description="Epochs over fit histories (and facts) as text, mixed into the scripts: as prompts show them, or "
        "with `rollout.answer = reranked` as the reranker reads them.",
    )
    facts: bool = Field(True, description="Whether those texts hold a line of facts about every item.")
    script_steps: int = Field(450, ge=0, description="Optimizer steps on scripted trajectories.")
    trajectories_per_step: Positive = Field(16, description="Scripted trajectories per optimizer step.")
    learning_rate: float = Field(4e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.01, ge=0, description="AdamW weight decay.")
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations: less memory, more time, the same weights."
    )

    @property
    def reads(self) -> bool:
        """Whether the policy reads histories first, and leaves what it was then for reranking."""
        return self.enabled and self.reading_epochs > 0

    def identity(self) -> dict[str, Any]:
        """What the policy depends on. Settings of what is off are left out, so that older runs stay current."""
        unused = {"gradient_checkpointing"}
        unused |= set() if self.reads else _READING
        unused |= set() if self.reading_learning_rate else {"reading_learning_rate"}
        return self.model_dump(exclude=unused)

    def reading_identity(self) -> dict[str, Any]:
        """What the policy as it has read depends on."""
        return {name: value for name, value in self.identity().items() if name in _READING}
