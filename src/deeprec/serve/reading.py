"""Bodies are JSON, and say so."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from deeprec.serve.problems import Problem


class JsonRoute(APIRoute):
    """A route that refuses a body of another type (415), before anything of it is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, behind the check."""
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            if takes_body:
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if kind != "application/json" and not (
                    kind.startswith("application/") and kind.endswith("+json")
                ):
                    raise Problem(415, f"the body's type is '{kind[:80]}'; send application/json")
            return await handle(request)

        return checked
