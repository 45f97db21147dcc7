"""Settings of the service: its caps. None of them changes what a recommendation is."""

from __future__ import annotations

from pydantic import Field

from deeprec.settings.effect import SERVICE
from deeprec.settings.section import Positive, Section


class ServeConfig(Section):
    """`deeprec serve`: how much a client may ask for, and how much waits."""

    effect = SERVICE

    queue: Positive = Field(64, description="Requests that may wait for the policy; more are refused (429).")
    in_flight: Positive = Field(32, description="Trajectories that the policy writes together at most.")
    deadline: float = Field(
        10.0, gt=0, description="Seconds until the TRM answers for the policy, unless the request says."
    )
    max_deadline: float = Field(60.0, gt=0, description="Seconds that a request may set as its deadline.")
    connections: Positive = Field(
        512, description="Open connections at most; one that waits for its client is closed for a new one."
    )
    idle_seconds: float = Field(
        10.0,
        gt=0,
        description="Seconds that a connection may wait for its client: for a request's head, the next request, or "
        "an answer to be read.",
    )
    history: Positive = Field(1000, description="Items of a history in a request at most.")
    k: Positive = Field(100, description="Items in an answer at most.")
    rate: float = Field(
        50.0, ge=0, description="Requests per second of one client in the long run; 0: no limit."
    )
