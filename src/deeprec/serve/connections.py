"""Connections that a client leaves unfinished: how many there may be, and how long each may last.

The server gives a request to the application once its head is there. Until then, between two
requests, and where an answer isn't read, nothing but this bounds what a client may hold.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any, NoReturn, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from deeprec.serve.problems import MEDIA_TYPE, Problem

HEAD_BYTES = 16_384  # of a request line and its headers
_HEADERS = 100  # of a request
_FRAMINGS = {b"content-length", b"transfer-encoding"}
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_SLICE = 4096  # bytes that are given to the parser at once
_PIECES = 500  # in which a body may come: each costs the server's thread as much as a kilobyte does
UNREAD = 2**20  # bytes that may still come of a body which was refused: its client may be about to read why
_LINGER = 1.0  # seconds in which a client that sends on can read why it is refused


class Connections:
    """The open ones. Where there are too many, the one that has waited longest for its client goes."""

    def __init__(self, most: int, seconds: float) -> None:
        """`most` may be open at once, each may wait `seconds` for its client."""
        self.most, self.seconds = most, seconds
        self._open: set[BoundedProtocol] = set()
        self._waiting: dict[BoundedProtocol, None] = {}  # the longest first

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def enter(self, one: BoundedProtocol) -> None:
        """Have a new one take part; for lack of others that wait it is closed itself."""
        self._open.add(one)
        if len(self._open) > self.most:
            victim = next(iter(self._waiting), one)
            self.leave(victim)
            victim.transport.abort()

    def leave(self, one: BoundedProtocol) -> None:
        """Forget one that is closed."""
        self._open.discard(one)
        self._waiting.pop(one, None)

    def note(self, one: BoundedProtocol, *, waits: bool) -> None:
        """Whether it is the client's turn on it, which keeps its place in the line while it is."""
        if not waits:
            self._waiting.pop(one, None)
        elif one in self._open:
            self._waiting.setdefault(one)


class BoundedParser(h11.Connection):
    """Refuses heads of many lines, and bodies in many pieces: a flood of chunks of one byte would be read for minutes.

    `refusal` says why, for the client.
    """

    refusal = f"this is no HTTP request, or its head is longer than {HEAD_BYTES} bytes"
    _pieces = 0

    def next_event(self) -> Any:
        """The next part of a request; raises h11.RemoteProtocolError for what is none."""
        if self.their_state is h11.IDLE:
            self._count_lines()
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = 0
            if {
                name for name, _ in event.headers
            } >= _FRAMINGS:  # a proxy may read another end than this does
                self._refuse("the request has both a Content-Length and a Transfer-Encoding; send one")
        elif isinstance(event, h11.Data):
            self._pieces += 1
            if self._pieces > _PIECES:
                self._refuse("the body comes in too many pieces; send it in fewer, of a kilobyte and more")
        elif event is h11.NEED_DATA and self._waits_for_lines():
            self._refuse("the lines behind the body, or before a piece of it, are too long; leave them out")
        return event

    def _count_lines(self) -> None:
        """Refuse a head of many lines before they are read, which costs more than a body does."""
        waiting, _ = self.trailing_data
        end = _END_OF_HEAD.search(waiting)
        if waiting.count(b"\n", 0, end.end() if end else len(waiting)) > _HEADERS + 2:  # request, empty line
            self._refuse(f"the request has more than {_HEADERS} headers")

    def _waits_for_lines(self) -> bool:
        """Whether much has come that is no body, which is read as it comes, but a chunk's head or lines behind it."""
        return self.their_state is h11.SEND_BODY and len(self.trailing_data[0]) > _SLICE

    def _refuse(self, why: str) -> NoReturn:
        self.refusal = why
        raise h11.RemoteProtocolError(why)


class _Lingering:
    """A connection's transport, as an answer has it: closed a little later where the client is still sending."""

    def __init__(self, transport: asyncio.Transport, hang_up: Callable[[], bool]) -> None:
        self._transport, self._hang_up = transport, hang_up

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def close(self) -> None:
        """Close it, but not before the client may have read why."""
        if not self._hang_up():
            self._transport.close()


class BoundedProtocol(H11Protocol):
    """One connection, which is closed when it makes the service wait."""

    def __init__(self, *given: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*given, **named)
        self.conn = self._parser = BoundedParser(h11.SERVER, HEAD_BYTES)
        self._shared = connections
        self._timer: asyncio.TimerHandle | None = None
        self._is_leaving = False
        self._unread = UNREAD

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client may take its time for a head, but not for ever."""
        super().connection_made(transport)
        self._restart()
        self._shared.enter(self)
        self._account()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is nobody's any more."""
        self._stop()
        self._shared.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, a little at a time, so that the parser never has much before it that it would read at once."""
        for start in range(0, len(data), _SLICE):
            if self._is_leaving or self.transport.is_closing():
                return
            self._receive(data[start : start + _SLICE])

    def _receive(self, data: bytes) -> None:
        """Take what came, unless the request was answered before its end and there is too much of it."""
        if self.cycle is not None and self.cycle.response_complete and self._in_request():
            self._unread -= len(data)
            if self._unread < 0:
                self._hang_up()
                return
        super().data_received(data)
        if self.cycle is not None and self.cycle.transport is self.transport:
            self.cycle.transport = cast(asyncio.Transport, _Lingering(self.transport, self._linger))
        self._account()

    def on_response_complete(self) -> None:
        """It is the client's turn again."""
        self._unread = UNREAD
        super().on_response_complete()
        if self._is_leaving:  # it reads on where a long body had it pause
            self.transport.pause_reading()
        self._restart()
        self._account()

    def pause_writing(self) -> None:
        """The client doesn't read: it may take its time, but not for ever."""
        super().pause_writing()
        self._restart()
        self._account()

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._account()

    def send_400_response(self, msg: str) -> None:
        """A problem document, where an answer can still be sent."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        answer = Problem(400, self._parser.refusal).response("")
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(answer.body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        if self.cycle is not None and not self.cycle.response_complete:  # whoever waits for its body is told
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._hang_up()

    def _linger(self) -> bool:
        """Hang up on a client who is still sending; False where it isn't."""
        if not self._in_request():
            return False
        self._hang_up()
        return True

    def _in_request(self) -> bool:
        return self.conn.their_state is h11.SEND_BODY

    def _account(self) -> None:
        """Whose turn it is: the client's until its request is whole, and while it doesn't read the answer."""
        if self._is_leaving:
            return
        cycle = self.cycle
        busy = cycle is not None and not cycle.response_complete
        if busy and not self.flow.write_paused:
            self._stop()  # a body has a time limit of its own
        self._shared.note(self, waits=not busy or cycle.more_body or self.flow.write_paused)

    def _restart(self) -> None:
        if self._is_leaving:
            return
        self._stop()
        self._timer = self.loop.call_later(self._shared.seconds, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self.transport.abort()

    def _hang_up(self) -> None:
        """Read no more; close a little later: closing at once would take the answer from the client, unread."""
        if self.transport.is_closing() or self._is_leaving:
            return
        self._is_leaving = True
        self._shared.note(self, waits=True)
        self.transport.pause_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._stop()
        self._timer = self.loop.call_later(_LINGER, self.transport.abort)
