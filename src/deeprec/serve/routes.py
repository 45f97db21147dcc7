"""Items, users, feedback, runs, and the service's own state."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from deeprec.errors import StoreError
from deeprec.serve.answers import item_given
from deeprec.serve.bodies import (
    FeedbackGiven,
    FeedbackSent,
    HistoryGiven,
    HistorySent,
    ItemGiven,
    ItemsGiven,
    Search,
    UsersGiven,
)
from deeprec.serve.callers import Administers, Reads, Writes, concerns
from deeprec.serve.fields import Id
from deeprec.serve.json_bodies import json_route
from deeprec.serve.openapi import problems
from deeprec.serve.problems import Problem, problem_of, wrong_field
from deeprec.serve.run_bodies import (
    Health,
    MetricsGiven,
    Readiness,
    ReloadGiven,
    RunsGiven,
    StageFilter,
    TrajectoriesGiven,
    TrajectoryFilter,
)
from deeprec.serve.service import Service
from deeprec.store import Feedback

UserId = Annotated[Id, Path(description="A user's id; a slash in it is written %2F or as it is.")]
RunName = Annotated[str, Path(min_length=1, max_length=256)]


def catalogue_routes(service: Service) -> APIRouter:
    """Search by title, and items by id."""
    router = APIRouter(tags=["items"])

    @router.get("/v1/items", responses=problems())
    def find_items(search: Annotated[Search, Query()]) -> ItemsGiven:
        """Search the default run's catalogue by title; case and accents don't matter."""
        run = service.default
        found = run.titles.find(search.query, search.limit)
        return ItemsGiven(items=[item_given(index, run.dataset.catalog) for index in found])

    @router.get("/v1/items/{item_id:path}", responses=problems(404))
    def get_item(item_id: Annotated[Id, Path()]) -> ItemGiven:
        """One item of the default run's catalogue."""
        run = service.default
        return item_given(run.titles.item(item_id), run.dataset.catalog)

    return router


def user_routes(service: Service) -> APIRouter:
    """Users, their histories, and what they did with recommendations."""
    router = APIRouter(tags=["users"], route_class=json_route(service.caps.history))

    @router.get("/v1/users", responses=problems(503))
    def find_users(search: Annotated[Search, Query()], caller: Reads) -> UsersGiven:
        """Users of the default run's data and of the store whose id holds the query."""
        return UsersGiven(users=service.default.users.find(search.query, search.limit, caller.tenant))

    @router.get("/v1/users/{user_id:path}/history", responses=problems(404, 503))
    def get_history(user_id: UserId, caller: Reads) -> HistoryGiven:
        """What is known of a user: as it was put, else as the data set has it, and what they took."""
        users = service.default.users
        return users.given(user_id, users.entries(user_id, caller.tenant))

    @router.put("/v1/users/{user_id:path}/history", responses=problems(503, body=True))
    def put_history(user_id: UserId, sent: HistorySent, caller: Writes) -> HistoryGiven:
        """Replace a user's history, or make a user. Items by id or title, oldest first."""
        service.check_titles(sent.history)
        users = service.default.users
        entries = users.resolve(sent.history)
        users.put(user_id, entries, caller.tenant)
        return users.given(user_id, entries)

    @router.delete("/v1/users/{user_id:path}", status_code=204, responses=problems(404, 503))
    def delete_user(user_id: UserId, caller: Writes) -> None:
        """Forget a user: history and feedback are erased, training data no longer shown or used."""
        service.default.users.delete(user_id, caller.tenant)

    @router.post(
        "/v1/feedback",
        status_code=201,
        responses=problems(503, body=True)
        | {200: {"model": FeedbackGiven, "description": "Known already, or of a deleted user: nothing new."}},
    )
    def give_feedback(
        sent: FeedbackSent, request: Request, response: Response, caller: Writes
    ) -> FeedbackGiven:
        """Keep what a user did with a recommended item: an impression, a click, a rating."""
        concerns(request, sent.user_id)
        run = service.run(sent.run)
        if run.dataset.catalog.index_of(sent.item_id) is None:
            raise wrong_field("item_id", sent.item_id, "no item has this id; /v1/items?query=TITLE finds ids")
        if (sent.kind == "rating") != (sent.value is not None):
            remedy = (
                "give the rating" if sent.kind == "rating" else f"a {sent.kind} has no value; leave it out"
            )
            raise wrong_field("value", sent.value, remedy)
        feedback = Feedback(
            user_id=sent.user_id,
            item_id=sent.item_id,
            kind=sent.kind,
            time=time.time(),
            value=sent.value,
            run=run.name,
            request_id=sent.request_id,
            key=sent.idempotency_key,
            wish=sent.wish or None,
        )
        is_new = service.door.open().of(caller.tenant).add_feedback(feedback) > 0
        if not is_new:
            response.status_code = 200
        return FeedbackGiven(stored=is_new)

    return router


def run_routes(service: Service) -> APIRouter:
    """The served runs and what their training left."""
    router = APIRouter(tags=["runs"])

    @router.get("/v1/runs", responses=problems())
    def get_runs() -> RunsGiven:
        """All served runs, the default first."""
        _ = service.default
        return RunsGiven(runs=[run.given(is_default=run is service.default) for run in service.runs])

    @router.get("/v1/runs/{run}/trajectories", responses=problems(404, 503))
    def get_trajectories(
        run: RunName, wanted: Annotated[TrajectoryFilter, Query()], caller: Reads
    ) -> TrajectoriesGiven:
        """Samples of training with their reward parts, without those of deleted users."""
        if caller.tenant:  # whom a run was trained with are the first tenant's users
            raise Problem(403, "trajectories show users of another tenant; ask with a key without a tenant")
        return service.run_at(run).records.trajectories(wanted, service.door.open().deleted)

    @router.get("/v1/runs/{run}/metrics", responses=problems(404, 503))
    def get_metrics(run: RunName, wanted: Annotated[StageFilter, Query()]) -> MetricsGiven:
        """What was logged while a stage was trained."""
        return service.run_at(run).records.metrics(wanted.stage)

    return router


def state_routes(service: Service) -> APIRouter:
    """For those who operate it."""
    router = APIRouter(tags=["state"])

    @router.get("/healthz", responses=problems())
    async def get_health() -> Health:
        """Whether the process answers."""
        return Health()

    @router.get("/readyz", responses=problems(503))
    def get_readiness() -> Readiness:
        """Which runs answer, whether their policies' threads run and the store can be reached (else 503)."""
        found = service.readiness()
        try:
            service.door.open().ping()
        except StoreError as error:
            raise problem_of(error) from None
        return found

    @router.post("/v1/reload", status_code=202, responses=problems(503))
    async def reload(caller: Administers) -> ReloadGiven:
        """Load the runs anew, as they are trained by now; the present ones answer until then."""
        _ = service.default  # before it is loaded there is nothing to load anew
        return ReloadGiven(started=service.start_reload())

    @router.get(
        "/metrics", responses=problems() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    )
    async def get_measures(_: Administers) -> Response:
        """Figures for Prometheus."""
        return Response(service.measures.text(), media_type="text/plain; version=0.0.4")

    return router
