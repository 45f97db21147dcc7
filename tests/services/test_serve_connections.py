"""Connections that a client leaves unfinished, over real sockets: each is closed, and others are served meanwhile."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from serve_world import running, small_service

from deeprec.serve import limits

IDLE = 0.4  # seconds
PING = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
HEAD = b"POST /v1/recommendations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"user_id": "u1", "mode": "trm"}'


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service, _ = small_service(
        tmp_path_factory.mktemp("store") / "store.db",
        "serve.rate=0", f"serve.idle_seconds={IDLE}", "serve.connections=20", "serve.history=359",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "BODY_SECONDS", 0.5)
        with running(service) as opened:
            yield opened


@contextmanager
def connected(client: httpx.Client, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=10) as one:
        one.sendall(sent)
        yield one


def read(one: socket.socket) -> bytes:
    """All until the service closes; what it had sent before it broke off counts."""
    found = b""
    try:
        while part := one.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def sends_until_closed(one: socket.socket, data: bytes, pause: float) -> None:
    for _ in range(1000):
        try:
            one.sendall(data)
        except OSError:
            return
        time.sleep(pause)
    pytest.fail("it was never closed")


def sends_for_ever(one: socket.socket) -> None:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        one.sendall(b" ")
        time.sleep(0.05)


def answers(client: httpx.Client) -> bool:
    """Whether an honest client that comes now is served at once."""
    with httpx.Client(base_url=client.base_url, timeout=2) as own:
        return own.post(
            "/v1/recommendations", content=BODY, headers={"content-type": "application/json"}
        ).is_success


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: local", HEAD])
def test_a_head_that_never_ends_is_closed(client: httpx.Client, sent: bytes) -> None:
    with connected(client, sent) as one:
        started = time.monotonic()
        assert read(one) == b""
        assert IDLE / 2 < time.monotonic() - started < IDLE + 2


def test_a_head_in_drops_has_no_more_time(client: httpx.Client) -> None:
    with connected(client, b"GET / HTTP/1.1\r\nX: ") as one:
        started = time.monotonic()
        sends_until_closed(one, b"x", 0.02)
        assert time.monotonic() - started < IDLE + 2


def test_between_two_requests_it_may_wait_as_long(client: httpx.Client) -> None:
    with connected(client, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") as one:
        started = time.monotonic()
        assert read(one).startswith(b"HTTP/1.1 200")
        assert IDLE / 2 < time.monotonic() - started < IDLE + 2


def test_a_long_head_is_refused(client: httpx.Client) -> None:
    lines = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 200 + b"\r\n"
    for sent in (lines, lines[:-2], HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY + lines):
        with connected(client, sent) as one:
            assert b"more than 100 headers" in read(one).splitlines()[-1]
    few = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"X: 1\r\n" * 98 + b"\r\n"
    with connected(client, few) as one:
        assert read(one).startswith(b"HTTP/1.1 200")
    with connected(client, b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n") as one:
        found = read(one)
        assert b"application/problem+json" in found
        assert b"longer than 16384 bytes" in found


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (PING * 2 + b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 50_000, b"100 headers"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * 50_000, b"lines behind the body"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"a=b;" * 50_000, b"before a piece of it"),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"both a Content-Length"),
    ],
    ids=["a second head", "trailers", "a chunk's head", "two lengths"],
)  # fmt: skip
def test_lines_are_bounded_wherever_they_stand(client: httpx.Client, sent: bytes, told: bytes) -> None:
    """Tens of thousands that come at once would be read at once, while nobody else is answered."""
    with connected(client) as one:
        with suppress(OSError):
            one.sendall(sent)
        found = read(one)
        assert told in found or found == b""  # a client that sends on may miss it
    assert answers(client)


def test_a_hundred_headers_may_come_in_any_pieces(client: httpx.Client) -> None:
    lines = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + b"X: 1\r\n" * 98
    with connected(client, lines) as one:
        time.sleep(0.05)
        one.sendall(b"\r\n")
        assert read(one).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("headers", [{}, {"Host": "elsewhere"}], ids=["too long", "another host"])
def test_who_sends_more_than_is_read_away_is_told_to_connect_again(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    """A client that keeps its connection would find it closed under its next request."""
    with closing(HTTPConnection(client.base_url.host, client.base_url.port)) as one:
        for size, closes in ((2 * 2**20, True), (2**19, False)):
            kind = {"Content-Type": "application/json", **headers}
            one.request("POST", "/v1/recommendations", b" " * size, kind)
            response = one.getresponse()
            assert (response.status, b"detail" in response.read()) == (400 if headers else 413, True)
            assert (response.getheader("connection") == "close") is closes
            one.request("GET", "/healthz")
            assert one.getresponse().read() == b'{"status":"ok"}'


def test_more_connections_than_there_may_be(client: httpx.Client) -> None:
    """A hundred that say nothing, where twenty may be open: the oldest go, and an honest one is served at once."""
    opened = [socket.create_connection((client.base_url.host, client.base_url.port or 0)) for _ in range(100)]
    try:
        assert answers(client)
        for one in opened[:60]:
            one.settimeout(0.2)
            assert read(one) == b""  # closed long before its time
    finally:
        for one in opened:
            one.close()


def test_bodies_that_never_end_leave_room_too(client: httpx.Client) -> None:
    sent = HEAD + b"Content-Length: 1000\r\n\r\n{"
    opened = [socket.create_connection((client.base_url.host, client.base_url.port or 0)) for _ in range(60)]
    try:
        for one in opened:
            try:
                one.sendall(sent)
            except OSError:  # it went for a later one already
                continue
        assert answers(client)
    finally:
        for one in opened:
            one.close()
    with connected(client, sent) as one:
        assert b"408 " in read(one).splitlines()[0]


def test_chunks_of_a_byte_are_refused_soon(client: httpx.Client) -> None:
    with connected(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as one:
        started = time.monotonic()
        with suppress(OSError):
            one.sendall(b"1\r\n \r\n" * 90_000)
        found = read(one)
        assert b"too many pieces" in found or found == b""  # a client that sends on may miss it
        assert time.monotonic() - started < 3
    with connected(client, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 600) as one:
        assert b"send it in fewer" in read(one)
        with pytest.raises(OSError):  # noqa: PT011 - the kind of reset depends on the moment
            sends_for_ever(one)
    some = b"".join(b"1\r\n%c\r\n" % sign for sign in BODY) + b"0\r\n\r\n"
    with connected(client, HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + some) as one:
        assert b"200 " in read(one).splitlines()[0]


def test_what_comes_behind_a_refusal_is_not_read_for_ever(client: httpx.Client) -> None:
    with connected(client, HEAD + b"Content-Length: 1000000000\r\n\r\n") as one:
        started = time.monotonic()
        sent = 0
        with suppress(OSError):
            while sent < 10**8:
                sent += one.send(b" " * 65536)
        assert sent < 5 * 10**7
        assert time.monotonic() - started < 5


def test_an_answer_that_is_not_read_is_given_up(client: httpx.Client) -> None:
    with connected(client) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
        started = time.monotonic()
        sends_until_closed(one, request * 100, 0.05)
        assert time.monotonic() - started < 8
    assert answers(client)


def test_several_requests_on_one_connection(client: httpx.Client) -> None:
    """Sent at once, and each after the last: nothing of this disturbs an honest client."""
    post = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    with connected(
        client, post * 5 + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ) as one:
        found = read(one)
        assert found.count(b"HTTP/1.1 200 ") == 6
        assert json.loads(found.splitlines()[-1]) == {"status": "ok"}
    with httpx.Client(base_url=client.base_url) as own:
        for _ in range(5):
            assert own.post("/v1/recommendations", json={"user_id": "u1", "mode": "trm"}).is_success
            time.sleep(IDLE / 4)


def test_rare_lines(tmp_path: Path) -> None:
    import logging

    from deeprec.serve.logs import Rare

    now = 0.0
    rare = Rare(clock=lambda: now)

    def passes(level: int, line: int, error: Exception | None = None) -> str | None:
        info = (type(error), error, None) if error else None
        record = logging.LogRecord("x", level, "file", line, "told %s", ("it",), info)
        return record.getMessage() if rare.filter(record) else None

    assert passes(logging.WARNING, 1) == "told it"
    assert [passes(logging.WARNING, 1) for _ in range(50)] == [None] * 50
    assert passes(logging.WARNING, 2) == "told it"
    assert passes(logging.WARNING, 1, KeyError()) == "told it"
    assert [passes(logging.INFO, 1) for _ in range(2)] == ["told it"] * 2
    now = 10.0
    assert passes(logging.WARNING, 1) == "told it (and 50 more like it)"
    assert passes(logging.WARNING, 1) is None
