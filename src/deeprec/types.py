"""Frozen records that every stage shares. No framework is imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class StopReason(StrEnum):
    """Why a trajectory ended. Only `FINISHED` is a complete one."""

    FINISHED = "finished"  # a recommendation list was closed
    NO_LIST = "no_list"  # the policy ended its text without a recommendation list
    EMPTY_PREFERENCE = "empty_preference"  # a preference without a word in it
    RETRIEVAL_LIMIT = "retrieval_limit"  # asked the TRM more often than allowed
    SEGMENT_LIMIT = "segment_limit"  # one segment ran past its cap of new tokens
    TOKEN_LIMIT = "token_limit"  # the whole response ran past its cap, or the model's context is full


@dataclass(frozen=True, slots=True)
class Item:
    """One catalogue entry.

    `label` is how the item is written in prompts and lists: one line, free of tags, and
    unique in its catalogue, so that text resolves to exactly one item. `title` is the
    source's own. Index 0 is padding and never an item.
    """

    item_index: int
    item_id: str
    title: str
    label: str
    categories: tuple[str, ...] = ()
    year: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One prediction task: a user's past, and the held-out next item.

    `history` holds item indices, oldest first, and is the *whole* known past; models and
    prompts take its latest part. `ratings` and `timestamps` are parallel to it, or empty
    where the source has none. `target` is 0 where there is nothing to predict against
    (serving). `wish` is what the user says that they want now, in their own words, empty for nothing;
    prompts show it cleaned, and cut to `deeprec.wishes.text.LONGEST_WISH` characters.
    """

    user_id: str
    history: tuple[int, ...]
    target: int = 0
    ratings: tuple[float, ...] = ()
    timestamps: tuple[float, ...] = ()
    timestamp: float | None = None
    profile: Mapping[str, str] = field(default_factory=dict)
    wish: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: the policy thought, wrote a preference, and the TRM retrieved items."""

    thought: str
    preference: str
    retrieved: tuple[int, ...] = ()  # item indices, best first; empty if the TRM was never asked
    scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Draw:
    """What a list was drawn from, and what was drawn: the policy's own choice among items, not among tokens.

    `context` is all that the policy had read before it drew, as ids (`rollout.masked` says what that is). The logit
    of the item `pool[p]` was the log-likelihood of its title behind it plus `prior[p]`, what the environment knows of
    it, divided by `sharpness`. `lists` holds L lists of items drawn from that, best first, of which the first is the
    trajectory's, and `logprobs` the natural-log probability of each line given those above.
    """

    context: tuple[int, ...]
    pool: tuple[int, ...]
    prior: tuple[float, ...]
    sharpness: float
    lists: tuple[tuple[int, ...], ...]
    logprobs: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One finished episode.

    `response_ids`, `loss_mask` and `logprobs` are parallel, T long: the mask is 1 exactly
    where the policy sampled the token, 0 where the environment wrote it (log-probability
    0.0 there). `lines` are the recommended lines as written, `ranking` the catalogue items
    that they resolve to, first occurrence only, unresolved lines left out. Where the list was drawn
    under a mask (`draw`), its lines were chosen whole: their tokens count as the environment's, the
    choice and its probability stand in `draw`.
    """

    user_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    loss_mask: tuple[int, ...]
    logprobs: tuple[float, ...]
    prompt: str
    response: str
    turns: tuple[Turn, ...]
    lines: tuple[str, ...]
    ranking: tuple[int, ...]
    stop_reason: StopReason
    format_errors: tuple[str, ...] = ()  # what keeps it from being well-formed; empty when it is
    draw: Draw | None = None

    @property
    def pool(self) -> tuple[int, ...]:
        """Item indices retrieved over all turns, in order of first appearance."""
        return tuple(dict.fromkeys(item for turn in self.turns for item in turn.retrieved))

    @property
    def is_valid(self) -> bool:
        """True when it finished and nothing is wrong with its form."""
        return self.stop_reason is StopReason.FINISHED and not self.format_errors
