"""Who may ask, how often, and how much: before a request reaches a route."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from hashlib import sha256

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deeprec.serve.problems import Problem, too_busy

_CLIENTS = 10_000  # whose allowance is remembered
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Buckets:
    """A token bucket for each client: `burst` requests at once, `rate` a second in the long run."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client -> tokens, when

    def wait(self, client: str) -> float:
        """Take a token: 0, or the seconds until there is one."""
        if self._rate == 0:
            return 0.0
        now = self._clock()
        tokens, then = self._left.pop(client, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        granted = tokens >= 1
        self._left[client] = (tokens - 1 if granted else tokens, now)
        if len(self._left) > _CLIENTS:  # the one that was quiet for longest has a full bucket by now, or soon
            self._left.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self._rate


class Gate:
    """Refuses what must not reach a route: other hosts, no key, too often, too long.

    The page itself and the checks of health need no key: they tell nothing of anybody.
    The body is read here, whole, so that nobody can keep a handler waiting for it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        key: str | None,
        buckets: Buckets,
        body_bytes: int,
        body_seconds: float,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._key = None if key is None else sha256(key.encode()).digest()
        self._buckets, self._body_bytes, self._body_seconds = buckets, body_bytes, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem document."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_host(headers)
            if scope["path"].startswith("/v1/") or scope["path"] == "/metrics":
                self._check_client(scope, headers)
            receive = await self._with_body(headers, receive)
        except Problem as problem:
            await problem.response(scope["path"])(scope, receive, send)
            return
        except _GoneError:
            return
        await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        name = host_name(headers.get("host", ""))
        if "*" not in self._hosts and name not in self._hosts:
            raise Problem(
                400, f"this service doesn't answer to the name '{name}'; start it with --allowed-host"
            )

    def _check_client(self, scope: Scope, headers: Headers) -> None:
        address = scope["client"][0] if scope.get("client") else "unknown"
        known = self._key is None or self._knows(headers.get("authorization", ""))
        # Guesses of a key are limited by address, those who have it by the key.
        wait = self._buckets.wait(f"key {self._key!r}" if known and self._key else f"address {address}")
        if wait:
            raise too_busy("too many requests", wait)
        if not known:
            raise Problem(
                401,
                "an API key is needed; send it as `Authorization: Bearer KEY`",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _knows(self, authorization: str) -> bool:
        scheme, _, given = authorization.partition(" ")
        digest = sha256(given.strip().encode()).digest()
        return hmac.compare_digest(digest, self._key or b"") and scheme.lower() == "bearer"

    async def _with_body(self, headers: Headers, receive: Receive) -> Receive:
        """A `receive` that gives the body, read here, and then whatever comes."""
        size = headers.get("content-length", "0")
        if size.isdigit() and int(size) > self._body_bytes:
            raise self._too_long()
        if size == "0" and "transfer-encoding" not in headers:
            return receive
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await self._read(receive)
        except TimeoutError:
            raise Problem(408, "the body didn't arrive in time; send it at once") from None
        return _replayed(body, receive)

    async def _read(self, receive: Receive) -> bytes:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            body += message.get("body", b"")
            if len(body) > self._body_bytes:
                raise self._too_long()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_long(self) -> Problem:
        return Problem(413, f"the body is longer than {self._body_bytes} bytes; send less")


class _GoneError(Exception):
    """The client went away before its body was whole."""


def host_name(header: str) -> str:
    """The name in a Host header, in lower case and without the port.

    >>> host_name("LocalHost:8000"), host_name("[::1]:80"), host_name("a.example")
    ('localhost', '[::1]', 'a.example')
    """
    name = header.strip().lower()
    if name.startswith("["):
        return name[: name.find("]") + 1]
    return name.partition(":")[0]


def _replayed(body: bytes, receive: Receive) -> Receive:
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return first.pop() if first else await receive()

    return replay


class Headed:
    """Puts headers on every answer that keep a browser from doing what it needn't."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self._headers]}
            await send(message)

        await self._app(scope, receive, headed)
