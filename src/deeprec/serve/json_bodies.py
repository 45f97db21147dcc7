"""Bodies are JSON, say so, and are read in a bounded time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from deeprec.serve.problems import Problem, wrong_field


class ReadRequest(Request):
    """A request whose body was read, and found to be JSON."""

    def __init__(self, scope: Scope, receive: Receive, body: bytes, value: object) -> None:
        super().__init__(scope, receive)
        self._content, self._value = body, value

    async def body(self) -> bytes:
        """The body as it came."""
        return self._content

    async def json(self) -> Any:
        """What it says."""
        return self._value


def json_route(entries: int) -> type[APIRoute]:
    """A kind of route that refuses bodies of another type (415), no JSON (400), and lists of more `entries` (422).

    A list is judged by its length alone: what is wrong with each of its entries is only
    looked for, and told, where there are few. The parser is bounded in depth and digits.
    """

    class JsonRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            if self.body_field is None:
                return handle

            async def checked(request: Request) -> Response:
                _check_type(request.headers)
                body = await request.body()
                if body:
                    value = _parsed(body)
                    _check_lists(value, entries)
                    request = ReadRequest(request.scope, request.receive, body, value)
                return await handle(request)

            return checked

    return JsonRoute


def _check_type(headers: Headers) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise Problem(415, "the body is compressed; send it as it is, without Content-Encoding")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem(415, f"the body's type is '{kind[:80]}'; send application/json")


def _parsed(body: bytes) -> object:
    try:
        # Remembering strings for the next request costs a third more where thousands of them are new.
        return from_json(body, cache_strings="none")
    except ValueError as error:
        raise wrong_field("body", None, f"is not JSON ({error})", status=400) from None


def _check_lists(value: object, entries: int) -> None:
    for name, found in value.items() if isinstance(value, dict) else ():
        if isinstance(found, list) and len(found) > entries:
            raise wrong_field(name[:80], found, f"at most {entries} items; send the latest ones")
