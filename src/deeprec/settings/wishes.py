"""Settings of what users say that they want (docs/howto/wish.md)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deeprec.settings.effect import RL, WARM_START, Effect, changes
from deeprec.settings.section import Fraction, Section


class WishesConfig(Section):
    """Wishes: how many of the examples that a policy learns from carry one. Without any nothing else changes."""

    effect = changes(WARM_START, *RL, when=lambda run: run.wishes.share > 0)

    share: Fraction = Field(
        0.0,
        description="Share of scripts and RL examples that carry a simulated wish; 0: the policy learns none.",
    )
    misleading: Fraction = Field(
        0.2,
        description="Share of those wishes that are true of another item: nobody can tell, so obeying costs.",
    )
    weight: Annotated[float, Effect(note="how far a list follows a wish")] = Field(
        1.0,
        ge=0,
        description="`masked` lists: factor on the weight that was learned for what answers a wish.",
    )
