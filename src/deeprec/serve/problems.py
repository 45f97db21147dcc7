"""Errors as RFC 9457 problem documents: what is wrong, with which value, and what helps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from deeprec.errors import DeepRecError, EngineError, RunError, StoreError, StoreUnavailable

MEDIA_TYPE = "application/problem+json"
_SHOWN = 100  # characters of a value that are repeated


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(extra="forbid")

    field: str = Field(description="Where: a path such as `history.3.title`, or `body`.")
    value: Any = Field(description="What was sent, shortened.")
    remedy: str = Field(description="What to send instead.")


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str = Field(description="Path of the request.")
    errors: list[FieldError] = []


class Problem(Exception):  # noqa: N818 - what the standard calls it
    """An answer that is a problem document; raised anywhere behind a route."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, tuple(errors), headers

    def document(self, instance: str) -> ProblemDocument:
        """The document, for the request to `instance`."""
        return ProblemDocument(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=clean(self.detail),
            instance=clean(instance),
            errors=list(self.errors),
        )

    def response(self, instance: str) -> Response:
        """The whole HTTP answer."""
        body = self.document(instance).model_dump_json()
        return Response(body, self.status, headers=dict(self.headers or {}), media_type=MEDIA_TYPE)


def wrong_field(field: str, value: object, remedy: str, *, status: int = 422) -> Problem:
    """The problem of one field."""
    error = FieldError(field=clean(field), value=plain(value), remedy=clean(remedy))
    return Problem(status, f"{error.field}: {error.remedy}", [error])


def too_busy(detail: str, seconds: float) -> Problem:
    """429, with the seconds after which to try again."""
    wait = max(1, math.ceil(seconds))
    return Problem(429, f"{detail}; try again in {wait} s", headers={"Retry-After": str(wait)})


def problem_of(error: DeepRecError) -> Problem:
    """What a client is told of one of our errors.

    Those of a store or a run folder name places on this machine: they stay in the log.
    """
    if isinstance(error, StoreUnavailable):
        return Problem(
            503,
            "the store of histories and feedback can't be reached just now; try again later, or send the history "
            "with the request",
            headers={"Retry-After": "1"},
        )
    if isinstance(error, StoreError | RunError):
        return Problem(503, "what the service keeps can't be read; its operator finds the reason in the log")
    if isinstance(
        error, EngineError
    ):  # the service is being stopped: others fail after the queue, and the TRM answers
        return Problem(503, str(error))
    return Problem(422, str(error))


def plain(value: object) -> Any:
    """A value as JSON can hold it, shortened: what a client sent is repeated, but never at length."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else "a very large number"
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple | dict):
        return f"{len(value)} entries"
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = clean(str(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def clean(text: str) -> str:
    """Text that can be encoded: JSON may hold half of a surrogate pair."""
    return text.encode(errors="backslashreplace").decode()
