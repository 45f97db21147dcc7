"""Settings of the protocol between policy and TRM."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from deeprec.settings.section import Positive, Section


class RolloutConfig(Section):
    """The protocol: what is shown, what is sampled, and every cap."""

    template: Literal["full", "compact"] = Field(
        "compact", description="Prompt: `full` instructs a pretrained LLM, `compact` suits the tiny policy."
    )
    chat: bool = Field(
        True,
        description="With `full`: the instruction is a user's message of the tokenizer's chat template, where it has "
        "one. Off for base models whose tokenizer brings a template along.",
    )
    prompt_fields: tuple[Literal["categories", "year", "rating", "date", "profile"], ...] = Field(
        (), description="What the prompt shows besides titles."
    )
    list_fields: tuple[Literal["categories", "year"], ...] = Field(
        (), description="What a retrieved item shows besides its title."
    )
    now: bool = Field(
        False, description="Whether the wish `now` stands for the month of the user's latest interaction."
    )
    history: Positive = Field(20, description="Latest items shown to the policy.")
    retrieved: Positive = Field(20, description="Items per retrieval (k).")
    recommended: Positive = Field(10, description="Items in the final list (K).")
    answer: Literal["written", "retrieved", "reranked"] = Field(
        "written",
        description="The final list, in training as in use: the policy writes it, or it is the TRM's answer to the "
        "last wish (`retrieved`), or all that was retrieved by the TRM's and the policy's probabilities together "
        "(`reranked`).",
    )
    reranker_weight: float = Field(
        1.0,
        ge=0,
        description="`reranked`: weight of the policy's log-likelihood of a title after the history, beside the "
        "TRM's log-probability of the item among those that it retrieved.",
    )
    reranker_history: Positive = Field(
        50, description="`reranked`: latest items of the history that the policy reads for that."
    )
    max_retrievals: Positive = Field(8, description="Retrievals per trajectory at most.")
    segment_tokens: Positive = Field(2048, description="New tokens per segment at most.")
    response_tokens: Positive = Field(
        16384, description="Tokens of a whole response at most, lists included."
    )
    new_items_only: bool = Field(False, description="Leave out items that an earlier turn retrieved.")
    temperature: float = Field(
        1.0, ge=0, description="Sampling temperature in training; evaluation is greedy."
    )
    top_p: float = Field(0.95, gt=0, le=1, description="Nucleus sampling in training.")
    users_per_batch: Positive = Field(128, description="Episodes stepped together by the local engine.")

    @property
    def chats(self) -> bool:
        """Whether prompts are put as a user's message of a chat."""
        return self.template == "full" and self.chat

    def identity(self) -> dict[str, Any]:
        """What weights depend on; settings of what is off are left out, so that older runs stay current."""
        unused = set() if self.answer == "reranked" else {"reranker_weight", "reranker_history"}
        unused |= set() if self.template == "full" else {"chat"}
        return self.model_dump(exclude=unused)
