"""Settings of the protocol between policy and TRM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from deeprec.settings.effect import (
    EVALUATION,
    ONE_SHOT_RL,
    ONE_SHOT_SFT,
    READING,
    RECOMMENDATION,
    RL,
    SPEED,
    WARM_START,
    changes,
)
from deeprec.settings.own import one_of_or_own
from deeprec.settings.section import Positive, Section

if TYPE_CHECKING:
    from deeprec.settings.run import RunConfig


def _masks(run: RunConfig) -> bool:
    return run.rollout.list == "masked"


def _samples(run: RunConfig) -> bool:
    return run.evaluation.sampled or run.inference.rollouts > 1


_EXPLORED = changes(WARM_START, *RL, EVALUATION)
_PROMPTED = changes(WARM_START, *RL, EVALUATION, ONE_SHOT_SFT)
# Scripts are not drawn.
_DRAWN = changes(*RL, ONE_SHOT_RL)
_DRAWN_TO_EVALUATE = changes(EVALUATION, when=_samples)


class RolloutConfig(Section):
    """The protocol: what is shown, what is sampled, and every cap."""

    template: Annotated[str, one_of_or_own("full", "compact"), _PROMPTED] = Field(
        "compact",
        description="Prompt: `full` instructs a pretrained LLM, `compact` suits the tiny policy; or a text of yours: "
        "`package.module:name`.",
    )
    chat: Annotated[
        bool,
        changes(
            WARM_START, *RL, EVALUATION, ONE_SHOT_SFT, when=lambda run: run.rollout.template != "compact"
        ),
    ] = Field(
        True,
        description="But for `compact`: the instruction is a user's message of the tokenizer's chat template, where "
        "it has one. Off for base models whose tokenizer brings a template along.",
    )
    prompt_fields: Annotated[
        tuple[Literal["categories", "year", "rating", "date", "profile"], ...], _PROMPTED
    ] = Field((), description="What the prompt shows besides titles.")
    list_fields: Annotated[tuple[Literal["categories", "year"], ...], _PROMPTED] = Field(
        (), description="What a retrieved item shows besides its title."
    )
    now: Annotated[bool, _EXPLORED] = Field(
        False,
        description="Whether the preference `now` stands for the month of the user's latest interaction.",
    )
    history: Annotated[Positive, _PROMPTED] = Field(20, description="Latest items shown to the policy.")
    retrieved: Annotated[Positive, _EXPLORED] = Field(20, description="Items per retrieval (k).")
    recommended: Annotated[Positive, _PROMPTED] = Field(10, description="Items in the final list (K).")
    list: Annotated[Literal["free", "masked", "retrieved"], _EXPLORED] = Field(
        "free",
        description="The final list, in training as in use: the policy writes it token by token (`free`), draws it "
        "from what was found and the TRM's plain list, with the TRM, asked the first preference and none, as prior "
        "(`masked`), or leaves it to the "
        "TRM's items for the last preference (`retrieved`).",
    )
    list_items: Annotated[
        Literal["found", "catalogue"], changes(WARM_START, *RL, EVALUATION, when=_masks)
    ] = Field(
        "found",
        description="`masked`: what may be listed: what was found and the TRM's plain list, or the whole `catalogue` "
        "(where every title is one token).",
    )
    list_history: Annotated[
        Positive,
        changes(READING, WARM_START, when=lambda run: run.warm_start.reads),
        changes(WARM_START, *RL, EVALUATION, when=_masks),
    ] = Field(
        50, description="`masked`: latest items of the history that the policy reads again before it draws."
    )
    prior_users: Annotated[Positive, changes(WARM_START, RECOMMENDATION, when=_masks)] = Field(
        2000, description="`masked`: validation users on whom the trust in the TRM is chosen, at most."
    )
    max_retrievals: Annotated[
        Positive, _EXPLORED, changes(ONE_SHOT_SFT, when=lambda run: run.rollout.template != "compact")
    ] = Field(8, description="Retrievals per trajectory at most.")
    segment_tokens: Annotated[Positive, _PROMPTED] = Field(
        2048, description="New tokens per segment at most."
    )
    response_tokens: Annotated[Positive, _PROMPTED] = Field(
        16384, description="Tokens of a whole response at most, lists included."
    )
    new_items_only: Annotated[bool, _EXPLORED] = Field(
        False, description="Leave out items that an earlier turn retrieved."
    )
    temperature: Annotated[float, _DRAWN, _DRAWN_TO_EVALUATE] = Field(
        1.0, ge=0, description="Sampling temperature in training; evaluation is greedy."
    )
    top_p: Annotated[float, _DRAWN, _DRAWN_TO_EVALUATE] = Field(
        0.95, gt=0, le=1, description="Nucleus sampling in training."
    )
    users_per_batch: Annotated[Positive, SPEED] = Field(
        128, description="Episodes stepped together by the local engine."
    )

    @property
    def chats(self) -> bool:
        """Whether prompts are put as a user's message of a chat."""
        return self.template != "compact" and self.chat
