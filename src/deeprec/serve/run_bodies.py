"""What clients send and get about runs: which are served, and what training left in them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from deeprec.serve.bodies import ItemRef
from deeprec.serve.fields import Given, Place, Sent


class RunGiven(Given):
    """A served run."""

    name: str
    dataset: str
    items: int
    users: int
    stage: str = Field(description="The stage whose policy answers.")
    hears_wishes: bool = Field(description="Whether its policy has learned from wishes.")
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
