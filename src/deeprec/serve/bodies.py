"""What clients send and get about users and items: the records of the HTTP interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from deeprec.serve.fields import Count, Given, Id, Key, Name, Rating, Searched, Seconds, Sent, Title, Wish
from deeprec.store import FeedbackKind

Mode = Literal["deeprec", "trm"]


class ItemSent(Sent):
    """One item of a history, by its id or its title (exactly one of them)."""

    item_id: Id | None = None
    title: Title | None = None
    timestamp: Seconds | None = None
    rating: Rating | None = None


# Whoever sends a thousand wrong items is told of the first one.
History = Annotated[list[ItemSent], Field(fail_fast=True, description="Oldest first.")]


class RecommendationRequest(Sent):
    """For whom and how. Exactly one of `user_id` and `history`; a stranger, or no history, gets popular items.

    With a `wish` a stranger gets what the policy makes of it.
    """

    user_id: Id | None = None
    history: History | None = None
    wish: Wish = ""
    k: Annotated[Count, Field(description="Items wanted; none: as trained.")] | None = None
    max_turns: Annotated[Count, Field(description="Retrievals at most.")] | None = None
    deadline_ms: Annotated[Count, Field(description="After this time the TRM's ranking answers.")] | None = (
        None
    )
    mode: Mode = "deeprec"
    run: Annotated[Name, Field(description="Name of a served run; none: the first.")] | None = None


class Found(Given):
    """Where in the exploration an item was retrieved first."""

    turn: int
    place: int


class RankedItem(Given):
    """One recommended item."""

    rank: int
    item_id: str
    title: str
    categories: list[str]
    year: int | None
    found: Found | None = Field(
        description="Null where the TRM filled the item in, or no turn shown retrieved it."
    )
    filled_in: bool = Field(description="Whether the TRM put it into the list, not the policy.")


class RetrievedItem(Given):
    """One item that the TRM retrieved for a preference."""

    item_id: str
    title: str
    new: bool = Field(description="Whether no earlier turn had retrieved it.")


class TurnGiven(Given):
    """One exchange of policy and TRM."""

    number: int
    thought: str
    preference: str
    retrieved: list[RetrievedItem]


class RecommendationAnswer(Given):
    """A ranking, and how it came about."""

    request_id: str
    run: str
    source: Mode
    reason: str | None = Field(description="Why the TRM answered or filled in; null where it didn't have to.")
    stop_reason: str | None = Field(description="Why the trajectory ended; null without one.")
    items: list[RankedItem]
    turns: list[TurnGiven]
    seconds: float
    tokens: int = Field(description="Tokens that the policy sampled.")


class ItemRef(Given):
    """An item, by id and label."""

    item_id: str
    title: str


class ItemGiven(ItemRef):
    """A catalogue entry."""

    categories: list[str]
    year: int | None


class ItemsGiven(Given):
    """Items that a search found, the likeliest first."""

    items: list[ItemGiven]


class Search(Sent):
    """What to look for; an empty query finds the first ones."""

    query: Searched = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class UserGiven(Given):
    """A user whose history is known."""

    user_id: str
    interactions: int


class UsersGiven(Given):
    """Users that a search found."""

    users: list[UserGiven]


class HistoryItem(Given):
    """One item of a user's history; the title is null where the run's catalogue lacks the item."""

    item_id: str
    title: str | None
    timestamp: float | None
    rating: float | None


class HistoryGiven(Given):
    """A user's history, oldest first."""

    user_id: str
    history: list[HistoryItem]


class HistorySent(Sent):
    """The history that takes the place of the present one, oldest first."""

    history: Annotated[History, Field(min_length=1)]


class FeedbackSent(Sent):
    """What a user did with an item."""

    user_id: Id
    item_id: Id
    kind: FeedbackKind
    value: Rating | None = Field(None, description="The rating of a `rating`; not for others.")
    request_id: Annotated[Key, Field(description="Of the answer that showed the item.")] | None = None
    run: Annotated[Name, Field(description="Name of the run that recommended; none: the first.")] | None = (
        None
    )
    wish: Wish = ""
    idempotency_key: (
        Annotated[Key, Field(description="Sending again with the same key changes nothing.")] | None
    ) = None


class FeedbackGiven(Given):
    """Whether the feedback is new (a repeated key is not, nor is a deleted user's)."""

    stored: bool


def item_ref(entry: Any) -> ItemRef:
    """An `Item` as id and label."""
    return ItemRef(item_id=entry.item_id, title=entry.label)
