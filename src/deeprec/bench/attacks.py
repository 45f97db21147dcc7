"""Hostile clients: what each sends, and a process that does it so many times a second. Standard library alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_PATIENCE = 15.0  # seconds that an attacker waits for an answer


@dataclass(frozen=True)
class Attack:
    """One kind of hostile request.

    `first` is what is sent at once; `drops`, where there are any, come one by one every
    `pause` seconds for as long as the service takes them. `reads` is whether the answer is read.
    """

    name: str
    first: Callable[[str, str, int], bytes]  # by the service's host, the key, and the number of the request
    drops: bytes = b""
    pause: float = 0.5
    reads: bool = True
    hangs_up: float | None = None  # seconds after which the attacker goes


def _request(method: str, path: str, body: bytes | None = None) -> Callable[[str, str, int], bytes]:
    def send(host: str, key: str, _: int) -> bytes:
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {host}",
            f"Authorization: Bearer {key}",
            "Connection: close",
        ]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")

    return send


def _ask(body: str | bytes) -> Callable[[str, str, int], bytes]:
    return _request("POST", "/v1/recommendations", body.encode() if isinstance(body, str) else body)


def _history(*items: Mapping[str, object]) -> str:
    return json.dumps({"history": items, "mode": "trm"})


def _chunked(host: str, key: str, _: int) -> bytes:
    head = f"POST /v1/recommendations HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
    head += "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"1\r\n \r\n" * 43_000


def _slow_body(host: str, key: str, _: int) -> bytes:
    return _ask(b" " * 5000)(host, key, 0)[:-5000]


def _headers(host: str, key: str, _: int) -> bytes:
    return f"GET /v1/items HTTP/1.1\r\nHost: {host}\r\n".encode() + b"a:b\r\n" * 3000 + b"\r\n"


def _trailers(host: str, key: str, _: int) -> bytes:
    return _chunked(host, key, 0).partition(b"\r\n\r\n")[0] + b"\r\n\r\n0\r\n" + b"a:b\r\n" * 13_000 + b"\r\n"


def _second_head(host: str, key: str, _: int) -> bytes:
    return f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() + _headers(host, key, 0)


def _guesses(host: str, key: str, number: int) -> bytes:
    return _request("GET", "/v1/runs")(host, f"{key}-wrong-{number}", 0)


def _feedback(host: str, key: str, number: int) -> bytes:
    body = {"user_id": f"flood-{number % 50}", "item_id": "i1", "kind": "click"}
    return _request("POST", "/v1/feedback", json.dumps(body).encode())(host, key, 0)


_KEYS = ",".join(f'"{number}":0' for number in range(20_000))

ATTACKS = (
    Attack("130,000 numbers as a history", _ask('{"history": [' + "1," * 129_000 + "1]}")),
    Attack("an object of 20,000 keys", _ask("{" + _KEYS + "}")),
    Attack("a thousand items, each wrong", _ask('{"history": [' + '{"":1},' * 999 + "{}]}")),
    Attack("100,000 brackets", _ask("[" * 100_000)),
    Attack("a number of 100,000 digits", _ask('{"k": 1' + "0" * 100_000 + "}")),
    Attack("an id of control characters", _ask('{"user_id": "\\u001c"}')),
    Attack("a history in milliseconds", _ask(_history({"item_id": "i1", "timestamp": 1.6e12}))),
    Attack("a title that is none", _ask(_history({"title": "The Quiet Elephnat of Nowhere" * 10}))),
    Attack("a history of a thousand items", _ask(_history(*[{"item_id": f"i{n % 400 + 1}"} for n in range(1000)]))),
    Attack("a search among users", _request("GET", "/v1/users?query=zzz&limit=100")),
    Attack("a search among items", _request("GET", "/v1/items?query=e&limit=100")),
    Attack("trajectories of training", _request("GET", "/v1/runs/{run}/trajectories?limit=100")),
    Attack("the service's description", _request("GET", "/openapi.json")),
    Attack("wrong keys", _guesses),
    Attack("clicks", _feedback),
    Attack("3,000 headers", _headers),
    Attack("3,000 headers behind another request", _second_head),
    Attack("13,000 lines behind a body", _trailers),
    Attack("chunks of a byte", _chunked),
    Attack("a body in drops", _slow_body, drops=b" "),
    Attack("a head that never ends", lambda host, *_: f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode(), drops=b"a:b\r\n"),
    Attack("a connection that says nothing", lambda *_: b"", hangs_up=60.0),
    Attack("a connection that goes at once", lambda *_: b"", hangs_up=0.0),
    Attack(
        "answers that nobody reads",
        _request("GET", "/v1/runs/{run}/trajectories?limit=100"),
        reads=False,
        hangs_up=60.0,
    ),
    Attack(
        "a stream that is left",
        _request("POST", "/v1/recommendations/stream", b'{"user_id": "u1"}'),
        reads=False,
        hangs_up=0.05,
    ),
)  # fmt: skip


def named(name: str) -> Attack:
    """The attack of this name."""
    return next(attack for attack in ATTACKS if attack.name == name)


async def attack_for(
    attack: Attack, host: str, port: int, key: str, run: str, rate: float, seconds: float
) -> Counter[str]:
    """Attack `rate` times a second for so many seconds; how often each status came, or why none did."""
    found: Counter[str] = Counter()
    running: set[asyncio.Task[None]] = set()
    started = time.monotonic()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
        first = attack.first(f"{host}:{port}", key, number).replace(b"{run}", run.encode())
        task = asyncio.create_task(_attack_once(attack, host, port, first, found))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.sleep(max(0.0, started + seconds - time.monotonic()))
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return found


async def _attack_once(attack: Attack, host: str, port: int, first: bytes, found: Counter[str]) -> None:
    outcome = "no answer"
    try:
        # A small buffer where nothing is read: then the service's fills, too.
        reader, writer = await asyncio.open_connection(host, port, limit=2**16 if attack.reads else 2**10)
        try:
            async with asyncio.timeout(_PATIENCE if attack.hangs_up is None else attack.hangs_up + 1):
                writer.write(first)
                await writer.drain()
                if attack.hangs_up is not None:
                    await asyncio.sleep(attack.hangs_up)
                    outcome = "left"
                while attack.drops and not reader.at_eof():
                    writer.write(attack.drops)
                    await writer.drain()
                    await asyncio.sleep(attack.pause)
                if attack.reads and attack.hangs_up is None:
                    line = await reader.readline()
                    outcome = line.split()[1].decode() if line else "closed"
                    await reader.read()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
    except TimeoutError:
        pass
    except OSError:
        outcome = "closed"
    finally:
        found[outcome] += 1


def main() -> None:
    """For the benchmark: `NAME HOST PORT KEY RUN RATE SECONDS`, and counts as JSON on standard output."""
    name, host, port, key, run, rate, seconds = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found = asyncio.run(attack_for(named(name), host, int(port), key, run, float(rate), float(seconds)))
    sys.stdout.write(json.dumps(dict(found)))


if __name__ == "__main__":
    main()
