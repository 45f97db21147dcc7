"""What was answered to a request, for who watches it pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})


class StatusOf:
    """Sends on what an application sends, and keeps the status of its answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 499  # nothing was sent: the client has gone

    async def __call__(self, message: Message) -> None:
        """Send a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


def method_of(scope: Mapping[str, Any]) -> str:
    """A request's method, for logs and figures: one that HTTP doesn't know is `other`, as clients can make up any.

    >>> method_of({"method": "GET"}), method_of({"method": "X9F2"})
    ('GET', 'other')
    """
    method: str = scope["method"]
    return method if method in _METHODS else "other"
