"""What was answered to a request, for who watches it pass."""

from __future__ import annotations

from starlette.types import Message, Send


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
