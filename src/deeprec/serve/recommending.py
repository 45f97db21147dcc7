"""`POST /v1/recommendations`, at once and as a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from deeprec.serve.answers import turns_given
from deeprec.serve.bodies import ItemRef, RecommendationAnswer, RecommendationRequest, RetrievedItem, item_ref
from deeprec.serve.callers import Recommends, concerns
from deeprec.serve.fields import Given
from deeprec.serve.json_bodies import json_route
from deeprec.serve.openapi import STREAM, problems
from deeprec.serve.problems import Problem
from deeprec.serve.served import ServedRun, Wanted
from deeprec.serve.service import Service
from deeprec.serve.worker import Task
from deeprec.types import Turn
from deeprec.wishes.text import clean_wish

log = logging.getLogger("deeprec.serve")
KEEP_ALIVE = 10.0  # seconds without an event after which a comment keeps proxies from hanging up


class Start(Given):
    """What the exploration starts from: the latest items and the wish, as the policy is shown them.

    The history is empty where the key may not read those that it doesn't bring, the wish where there is none.
    """

    request_id: str
    run: str
    history: list[ItemRef]
    wish: str


class TurnText(Given):
    """What the policy wrote in a turn."""

    turn: int
    text: str


class TurnItems(Given):
    """What the TRM retrieved in a turn."""

    turn: int
    items: list[RetrievedItem]


def recommendation_routes(service: Service) -> APIRouter:
    """Both ways to ask for recommendations."""
    router = APIRouter(tags=["recommendations"], route_class=json_route(service.caps.history))

    @router.post(
        "/v1/recommendations",
        response_model=RecommendationAnswer,
        responses=problems(404, 503, body=True),
    )
    async def recommend(sent: RecommendationRequest, request: Request, caller: Recommends) -> Response:
        """Recommend for a known user or for a history; the turns come with the answer."""
        concerns(request, sent.user_id)
        run = service.run(sent.run)
        run.hold()
        try:
            wanted = await service.wanted(run, sent, caller)
            work = run.finish(wanted, run.accept(wanted))
            answer = await _while_there(request, work)
        finally:
            run.release()
        # It is valid by construction: checking it again would cost more than the TRM's ranking.
        return Response(answer.model_dump_json(), media_type="application/json")

    @router.post(
        "/v1/recommendations/stream",
        response_class=StreamingResponse,
        responses=problems(404, 503, body=True) | STREAM,
    )
    async def stream(sent: RecommendationRequest, request: Request, caller: Recommends) -> StreamingResponse:
        """The same, each turn as it comes. When the client goes away its work is cancelled."""
        concerns(request, sent.user_id)
        run = service.run(sent.run)
        turns: asyncio.Queue[Turn | None] = asyncio.Queue()
        run.hold()
        try:
            wanted = await service.wanted(run, sent, caller)
            task = run.accept(wanted, lambda _, turn: turns.put_nowait(turn))
        except BaseException:
            run.release()
            raise
        # Who may not read histories isn't shown one that they didn't send.
        shown = wanted.example.history if sent.user_id is None or "read" in caller.scopes else ()
        events = _events(run, wanted, shown, task, turns, request.url.path)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    return router


async def _events(
    run: ServedRun,
    wanted: Wanted,
    shown: Sequence[int],
    task: Task | None,
    turns: asyncio.Queue[Turn | None],
    path: str,
) -> AsyncIterator[str]:
    catalog = run.dataset.catalog
    answer = asyncio.create_task(run.finish(wanted, task))
    answer.add_done_callback(lambda _: turns.put_nowait(None))
    try:
        history = [item_ref(catalog[item]) for item in shown[-run.config.rollout.history :]]
        wish = clean_wish(wanted.example.wish)
        start = Start(request_id=wanted.request_id, run=run.name, history=history, wish=wish)
        yield _event("start", start)
        seen: list[Turn] = []
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    turn = await turns.get()
            except TimeoutError:
                yield ": still at it\n\n"
                continue
            if turn is None:
                break
            seen.append(turn)
            given = turns_given(seen, catalog)[-1]
            yield _event("thought", TurnText(turn=given.number, text=given.thought))
            yield _event("preference", TurnText(turn=given.number, text=given.preference))
            yield _event("retrieved", TurnItems(turn=given.number, items=given.retrieved))
        yield _event("ranking", answer.result())
    # The status has been sent: what goes wrong now can only be told as an event.
    except Exception:
        log.exception("a stream failed")
        yield _event("error", Problem(500, "the service made a mistake; see its log").document(path))
    finally:
        answer.cancel()
        run.release()


def _event(name: str, data: BaseModel) -> str:
    return f"event: {name}\ndata: {data.model_dump_json()}\n\n"


async def _while_there(
    request: Request, work: Coroutine[Any, Any, RecommendationAnswer]
) -> RecommendationAnswer:
    """The answer; nobody is worked for who has gone away."""
    answer, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise Problem(503, "the client went away")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
