"""What clients send and get: the records of the HTTP interface."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from deeprec.data.times import check_seconds
from deeprec.errors import DataError
from deeprec.store import FeedbackKind
from deeprec.store.base import ID_LENGTH, KEY_LENGTH, RATING_LIMIT
from deeprec.texts import fault_of, is_blank

Mode = Literal["deeprec", "trm"]
_KEYS = 20  # of an object: more than any has
_LARGEST = 2**31  # of a count: what it may be in earnest is a setting


def _kept(text: str) -> str:
    """Text that can be an id: what no database keeps is none here either."""
    fault = fault_of(text, len(text))
    if fault is not None:
        raise PydanticCustomError("text", "{fault}", {"fault": fault})
    return text


def _searched(text: str) -> str:
    """What to look for: as an id, but it may be empty."""
    return "" if is_blank(text) else _kept(text)


def _plausible(seconds: float) -> float:
    try:
        check_seconds(seconds)
    except DataError as error:
        raise PydanticCustomError("time", "{told}", {"told": str(error)}) from None
    return seconds


Id = Annotated[str, Field(min_length=1, max_length=ID_LENGTH), AfterValidator(_kept)]
Key = Annotated[str, Field(min_length=1, max_length=KEY_LENGTH), AfterValidator(_kept)]
Title = Annotated[str, Field(min_length=1), AfterValidator(_kept)]
# In a body a number is a number: neither text nor true and false. A query holds text alone.
Rating = Annotated[float, Field(strict=True, ge=-RATING_LIMIT, le=RATING_LIMIT)]
Seconds = Annotated[
    float,
    Field(strict=True, ge=0, description="Seconds since 1970, ten years from now at most."),
    AfterValidator(_plausible),
]
Count = Annotated[int, Field(strict=True, ge=1, le=_LARGEST)]
Place = Annotated[int, Field(ge=0, le=_LARGEST)]
Name = Annotated[str, Field(min_length=1, max_length=ID_LENGTH)]


class Sent(BaseModel):
    """A body or query: no other keys, no infinite numbers."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, value: Any) -> Any:
        """One error for an object of thousands of keys, in place of thousands."""
        if isinstance(value, dict) and len(value) > _KEYS:
            raise PydanticCustomError(
                "keys", "holds {count} keys; send those described", {"count": len(value)}
            )
        return value


class Given(BaseModel):
    """Part of an answer."""

    model_config = ConfigDict(extra="forbid")


class ItemSent(Sent):
    """One item of a history, by its id or its title (exactly one of them)."""

    item_id: Id | None = None
    title: Title | None = None
    timestamp: Seconds | None = None
    rating: Rating | None = None


# Whoever sends a thousand wrong items is told of the first one.
History = Annotated[list[ItemSent], Field(fail_fast=True, description="Oldest first.")]


class RecommendationRequest(Sent):
    """For whom and how. Exactly one of `user_id` and `history`; a stranger, or no history, gets popular items."""

    user_id: Id | None = None
    history: History | None = None
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

    query: Annotated[str, Field(max_length=ID_LENGTH), AfterValidator(_searched)] = ""
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
    idempotency_key: (
        Annotated[Key, Field(description="Sending again with the same key changes nothing.")] | None
    ) = None


class FeedbackGiven(Given):
    """Whether the feedback is new (a repeated key is not, nor is a deleted user's)."""

    stored: bool


class RunGiven(Given):
    """A served run."""

    name: str
    dataset: str
    items: int
    users: int
    stage: str = Field(description="The stage whose policy answers.")
    default: bool


class RunsGiven(Given):
    """All served runs, the default first."""

    runs: list[RunGiven]


class TrajectoryFilter(Sent):
    """Which trajectories to show."""

    min_reward: float | None = None
    max_reward: float | None = None
    stop_reason: Annotated[str, Field(max_length=64)] | None = None
    turns: Place | None = None
    step: Place | None = None
    stage: Annotated[str, Field(max_length=64)] | None = None
    offset: Place = 0
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class TrainingTurn(Given):
    """One exchange of a training trajectory."""

    thought: str
    preference: str
    retrieved: list[ItemRef]


class TrainingTrajectory(Given):
    """A sample of training, with its reward."""

    number: int = Field(description="Its place in the file, from 0.")
    stage: str
    step: int
    user_id: str
    target: ItemRef | None
    prompt: str
    response: str
    turns: list[TrainingTurn]
    ranking: list[ItemRef]
    stop_reason: str
    format_errors: list[str]
    reward: float
    parts: dict[str, float]


class TrajectoriesGiven(Given):
    """One page of the trajectories that a filter lets through."""

    total: int
    trajectories: list[TrainingTrajectory]


class StageFilter(Sent):
    """Which stage's figures to show; none: the latest one logged."""

    stage: Annotated[str, Field(max_length=64)] | None = None


Point = Annotated[list[float], Field(min_length=2, max_length=2)]


class MetricsGiven(Given):
    """What was logged while training: by name, (step, value) in order."""

    stage: str | None
    stages: list[str]
    series: dict[str, list[Point]]


class Health(Given):
    """The service is there."""

    status: Literal["ok"] = "ok"


class RunLoaded(Given):
    """A run that answers."""

    name: str
    stage: str = Field(description="The stage whose policy answers.")
    version: str = Field(description="What that stage was trained from: the same for the same training.")
    loaded: float = Field(description="When it was loaded, in seconds since 1970.")


class Readiness(Given):
    """The service answers; perhaps other runs soon."""

    status: Literal["ok"] = "ok"
    loading: bool = Field(description="Whether runs are being loaded that will take the place of these.")
    problem: str | None = Field(
        description="Why a later training is not what answers; null where all is well."
    )
    runs: list[RunLoaded]


class ReloadGiven(Given):
    """Whether a reload has begun; `/readyz` tells how it goes on."""

    started: bool = Field(description="False where one was under way already.")


def item_ref(entry: Any) -> ItemRef:
    """An `Item` as id and label."""
    return ItemRef(item_id=entry.item_id, title=entry.label)
