"""What the OpenAPI document says besides what FastAPI finds out: problems, streams, and the key."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi

from deeprec.serve.limits import TITLE, TURNS
from deeprec.serve.problems import MEDIA_TYPE, ProblemDocument
from deeprec.settings.serve import ServeConfig

_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
_MEANINGS = {
    400: "The request can't be read, or names a host that this service doesn't answer to.",
    401: "An API key is needed.",
    403: "The key lacks a scope.",
    404: "There is no such thing.",
    408: "The body didn't arrive in time.",
    413: "The body is too long.",
    415: "The body is no JSON.",
    422: "Something in the request is wrong; `errors` says what.",
    429: "Too many requests; `Retry-After` says when to try again.",
    500: "A mistake of the service.",
    503: "The store can't be reached, or the service isn't ready.",
}
_ALWAYS = (400, 401, 403, 422, 429, 500)
_WITH_BODY = (408, 413, 415)
_EVENTS = ("start", "thought", "preference", "retrieved", "ranking", "error")
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, each of the form that the schema describes: `start`, for each turn "
        "`thought`, `preference` and `retrieved`, then `ranking` (`data` is the whole answer) or `error` (a problem "
        "document), which ends it.",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "event": {"type": "string", "enum": list(_EVENTS)},
                        "data": {"type": "string", "contentMediaType": "application/json"},
                    },
                    "required": ["event", "data"],
                }
            }
        },
    }
}


def problems(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what any may answer, and these."""
    known = {*_ALWAYS, *statuses, *(_WITH_BODY if body else ())}
    return {status: {"description": _MEANINGS[status], "content": _PROBLEM} for status in sorted(known)}


def describe(app: FastAPI, caps: ServeConfig, *, needs_key: bool) -> None:
    """Have the application publish its document with all of this, and with the caps that it holds clients to."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schemas = made["components"]["schemas"]
            own = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(own.pop("$defs"))
            schemas["ProblemDocument"] = own
            _limit(schemas, caps)
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            if needs_key:
                made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
                made["security"] = [{"key": []}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    text: list[bytes] = []  # written once: it doesn't change, and anybody may ask for it

    @app.get("/openapi.json", include_in_schema=False)
    async def send() -> Response:
        if not text:
            text.append(json.dumps(document()).encode())
        return Response(text[0], media_type="application/json")


def _limit(schemas: dict[str, Any], caps: ServeConfig) -> None:
    """Write the settings' caps into the schemas of bodies: the models know none but what no setting may lift."""
    limits: dict[tuple[str, str], dict[str, int]] = {
        ("ItemSent", "title"): {"maxLength": TITLE},
        ("HistorySent", "history"): {"maxItems": caps.history},
        ("RecommendationRequest", "history"): {"maxItems": caps.history},
        ("RecommendationRequest", "k"): {"maximum": caps.k},
        ("RecommendationRequest", "max_turns"): {"maximum": TURNS},
        ("RecommendationRequest", "deadline_ms"): {"maximum": int(1000 * caps.max_deadline)},
    }
    for (model, name), limit in limits.items():
        described = schemas[model]["properties"][name]
        described.get("anyOf", [described])[0].update(limit)  # the other one is null
