"""The application: routes, problem documents for whatever goes wrong, and what stands before them."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from deeprec.distribution import installed_version
from deeprec.errors import DeepRecError, RunError, StoreError
from deeprec.serve.audit import Audit, Audited
from deeprec.serve.keyring import Keyring
from deeprec.serve.limits import BURST_SECONDS, LEAST_BURST, LOOPBACK_NAMES, Buckets, Gate, Headed, body_limit
from deeprec.serve.measures import Measures
from deeprec.serve.openapi import describe
from deeprec.serve.page import add_page
from deeprec.serve.problems import FieldError, Problem, clean, plain, problem_of
from deeprec.serve.recommending import recommendation_routes
from deeprec.serve.routes import catalogue_routes, run_routes, state_routes, user_routes
from deeprec.serve.service import Service
from deeprec.serve.statuses import StatusOf, method_of

log = logging.getLogger("deeprec.serve")
_TOLD = 10  # errors of a request at most
_SHOWN = 100  # characters of a key that a client made up
_ABOUT = "Recommendations by a language model that explores the catalogue, turn by turn."


def create_app(
    service: Service,
    *,
    keyring: Keyring | None = None,
    hosts: Iterable[str] = LOOPBACK_NAMES,
    audit: Audit | None = None,
) -> ASGIApp:
    """The service as an ASGI application that closes `service` and `audit` when it ends.

    With keys in `keyring` everything but the page, its description and health needs one.
    `hosts` are the names that it answers to, in a request's Host; `*` is any.
    """
    keys = keyring or Keyring()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)
        if audit is not None:
            audit.close()

    app = FastAPI(
        title="deeprec",
        version=installed_version(),
        description=_ABOUT,
        lifespan=lifespan,
        openapi_url=None,  # `describe` has its own, and the pages around it load scripts from elsewhere
        redirect_slashes=False,
    )
    for router in (recommendation_routes, catalogue_routes, user_routes, run_routes, state_routes):
        app.include_router(router(service))
    add_page(app)
    _handle_errors(app)
    caps = service.caps
    describe(app, caps, needs_key=not keys.is_open)
    gate = Gate(
        app,
        hosts=hosts,
        keyring=keys,
        buckets=Buckets(caps.rate, max(LEAST_BURST, round(BURST_SECONDS * caps.rate))),
        body_bytes=body_limit(caps),
    )
    guarded = gate if audit is None else Audited(gate, audit)
    return Observed(Headed(guarded), service.measures)


class Observed:
    """Counts and times every request; the log has the route, never what was asked."""

    def __init__(self, app: ASGIApp, measures: Measures) -> None:
        self._app, self._measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, watched = time.perf_counter(), StatusOf(send)
        try:
            await self._app(scope, receive, watched)
        finally:
            seconds = time.perf_counter() - started
            # Without a route only its absence is told: a path may hold anything.
            route = getattr(scope.get("route"), "path", "none")
            method = method_of(scope)
            self._measures.request(method if route != "none" else "any", route, watched.status, seconds)
            log.info("%s %s %d %.1f ms", method, route, watched.status, 1000 * seconds)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> Response:
        return problem.response(request.url.path)

    @app.exception_handler(DeepRecError)
    async def on_error(request: Request, error: DeepRecError) -> Response:
        if isinstance(error, StoreError | RunError):
            log.warning("%s: %s", type(error).__name__, error)
        return problem_of(error).response(request.url.path)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        fields = [_field_error(entry) for entry in error.errors()[:_TOLD]]
        detail = "; ".join(f"{field.field}: {field.remedy}" for field in fields[:3])
        return Problem(422, detail, fields).response(request.url.path)

    @app.exception_handler(HTTPException)
    async def on_refused(request: Request, error: HTTPException) -> Response:
        detail = {404: "there is nothing at this path", 405: "this path knows other methods only"}
        told = detail.get(error.status_code, str(error.detail))
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _methods(app, request) or headers.get("Allow", "GET, HEAD")
        return Problem(error.status_code, told, headers=headers).response(request.url.path)

    @app.exception_handler(Exception)
    async def on_mistake(request: Request, _: Exception) -> Response:
        # Starlette raises it again behind the answer, so that the server's log has it.
        return Problem(500, "the service made a mistake; its log says more").response(request.url.path)


def _methods(app: FastAPI, request: Request) -> str:
    """Methods of a path, from all of its routes; the router names those of the first one alone."""
    template = getattr(request.scope.get("route"), "path", "").replace(":path}", "}")
    return ", ".join(sorted(method.upper() for method in app.openapi()["paths"].get(template, ())))


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    where = [str(part)[:_SHOWN] for part in entry["loc"][1:]]
    remedies = {"extra_forbidden": "there is no such key; leave it out", "missing": "is needed"}
    value = None if entry["type"] == "missing" else entry.get("input")
    remedy = remedies.get(entry["type"], entry["msg"])
    return FieldError(
        field=clean(".".join(where) or str(entry["loc"][0])), value=plain(value), remedy=clean(remedy)
    )
