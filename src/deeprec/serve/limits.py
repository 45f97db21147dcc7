"""Who may ask, how often, and how much: before a request reaches a route."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deeprec.serve.callers import set_caller
from deeprec.serve.connections import UNREAD
from deeprec.serve.keyring import Keyring
from deeprec.serve.keys import Caller, network_of
from deeprec.serve.problems import Problem, too_busy
from deeprec.settings import ServeConfig

BURST_SECONDS, LEAST_BURST = 2, 10  # requests at once: what so many seconds grant, but so many at least
# Of a body at most: for each item that a history may have, and for all else.
ITEM_BYTES, BODY_BYTES = 256, 8192
BODY_SECONDS = 10.0  # that a client may take to send a body
TITLE = 500  # characters of a title or a search at most
TURNS = 16  # `max_turns` of a request at most
_CLIENTS = 10_000  # whose allowance is remembered
_FIRST_GUESSES, _GUESSES = 10, 0.5  # wrong keys of a network: at once, and a second in the long run
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def body_limit(caps: ServeConfig) -> int:
    """Bytes of a request's body at most."""
    return BODY_BYTES + ITEM_BYTES * caps.history


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
        keyring: Keyring,
        buckets: Buckets,
        body_bytes: int,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._keyring, self._guesses = keyring, Buckets(_GUESSES, _FIRST_GUESSES)
        self._buckets, self._body_bytes = buckets, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with a problem document."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            _check_address(scope)
            if scope["path"].startswith("/v1/") or scope["path"] == "/metrics":
                self._check_client(scope, headers)
            receive = await self._with_body(headers, receive)
        except Problem as problem:
            response = problem.response(scope["path"])
            if _much_is_unread(headers):  # the connection can't be used again, and its client shall know
                response.headers["connection"] = "close"
            await response(scope, receive, send)
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
        """Find out who it is, and whether they may ask now."""
        network = network_of(scope["client"][0]) if scope.get("client") else "unknown"
        key = _key_of(headers.get("authorization", ""))
        caller = Caller(f"address {network}") if self._keyring.is_open else self._known(key, network)
        # Those who have a key are counted by it, others by where they are.
        wait = self._buckets.wait(caller.name if caller else f"address {network}")
        if caller is not None:
            set_caller(scope, caller)
        if wait:
            raise too_busy("too many requests", wait)
        if caller is None:
            raise Problem(
                401,
                "an API key is needed; send it as `Authorization: Bearer KEY`",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _known(self, key: str | None, network: str) -> Caller | None:
        """Whose key it is. Wrong ones are few, however many addresses a network has, and no setting lifts that."""
        if key is None:
            return None
        caller = self._keyring.caller(key)
        wait = 0.0 if caller else self._guesses.wait(network)
        if wait:
            raise too_busy("too many wrong keys from your network", wait)
        return caller

    async def _with_body(self, headers: Headers, receive: Receive) -> Receive:
        """A `receive` that gives the body, read here, and then whatever comes."""
        size = headers.get("content-length", "0")
        if size.isdigit() and int(size) > self._body_bytes:
            raise self._too_long()
        if size == "0" and "transfer-encoding" not in headers:
            return receive
        try:
            async with asyncio.timeout(BODY_SECONDS):
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


def _check_address(scope: Scope) -> None:
    """Raise Problem for escapes that aren't UTF-8: read leniently, `Jos%E9` and `Jos%E8` were one user."""
    for part in (scope.get("raw_path") or b"", scope.get("query_string", b"")):
        try:
            unquote_to_bytes(part).decode()
        except UnicodeDecodeError:
            raise Problem(
                400, "the address isn't UTF-8; write each byte of a letter's UTF-8 as %XX"
            ) from None


def _much_is_unread(headers: Headers) -> bool:
    """Whether a body that was refused unread may be longer than what is read away."""
    size = headers.get("content-length", "0")
    return "transfer-encoding" in headers or not size.isdigit() or int(size) > UNREAD


def _key_of(authorization: str) -> str | None:
    scheme, _, given = authorization.partition(" ")
    return given.strip() if scheme.lower() == "bearer" and given.strip() else None


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
