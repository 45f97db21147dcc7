"""The rows of `deeprec bench serve`: how fast a service answers over real HTTP on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from itertools import cycle, islice
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import numpy as np

from deeprec.bench.rows import Row, make_row
from deeprec.errors import EngineError
from deeprec.progress import progress_bar

CLIENTS = (1, 8, 32)
ALONE = "one at a time (serve.in_flight = 1)"
_GOAL_MS = 10.0  # of an answer by the TRM alone, at p50
_START = 300.0  # seconds that a service may take to load
_STREAMS = 40  # at most
_WARM_UP = 2  # requests of each client that aren't counted
_OPTIONS = ("serve.rate=0", "serve.deadline=60", "serve.queue=256")


@dataclass(frozen=True)
class Load:
    """What a number of clients met, each sending a request as soon as the last one is answered."""

    latencies: tuple[float, ...]  # seconds
    seconds: float  # of them all together
    cpu: float | None = None  # seconds of the service's processors, where the system tells

    @property
    def rate(self) -> float:
        """Requests answered per second."""
        return len(self.latencies) / self.seconds

    @property
    def cpu_ms(self) -> float | None:
        """Milliseconds of the service's processors for an answer."""
        return None if self.cpu is None else 1000 * self.cpu / len(self.latencies)

    def ms(self, percentile: float) -> float:
        """Milliseconds within which this percentage was answered."""
        return 1000 * float(np.percentile(self.latencies, percentile))


@dataclass(frozen=True)
class Measured:
    """Host and port of a service, and its process."""

    address: str
    pid: int

    def cpu(self) -> float | None:
        """Seconds of processors that it has used; None where the system doesn't tell."""
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve_rows(
    run: Path, users: Sequence[str], requests: int = 256, options: Sequence[str] = ()
) -> Iterator[Row]:
    """Latencies and requests/s of a run's service, for `users` in turn; `options` are settings.

    The service is a process of its own, started twice: once as it is, once with a single
    trajectory at a time. `requests` is how many each number of clients sends in all. Raises
    EngineError where a service doesn't start, or anything but an answer of the policy in time comes back.
    """
    rates: dict[int, float] = {}
    cpu: dict[int, float] = {}
    with service_of(run, [*_OPTIONS, *options]) as service:
        for clients in CLIENTS:
            load = _loaded(service, clients, _share(requests, clients), users)
            rates[clients], cpu[clients] = load.rate, load.cpu_ms or 0.0
            yield make_row(f"answer, {_named(clients)}, p50", load.ms(50), "ms", "", None)
            yield make_row(f"answer, {_named(clients)}, p99", load.ms(99), "ms", "", None)
        first = [
            _first_event(service.address, user) for user in islice(cycle(users), min(_STREAMS, requests))
        ]
        yield make_row(
            "first turn in a stream, 1 client, p50", 1000 * float(np.median(first)), "ms", "", None
        )
        plain = _loaded(service, 1, requests, users, mode="trm")
        yield make_row("TRM alone, 1 client, p50", plain.ms(50), "ms", "goal", _GOAL_MS)
        yield make_row("TRM alone, 1 client, p99", plain.ms(99), "ms", "", None)
    with service_of(run, [*_OPTIONS, *options, "serve.in_flight=1"]) as service:
        for clients in CLIENTS:
            alone = _loaded(service, clients, max(1, _share(requests, clients) // 2), users)
            yield make_row(f"throughput, {_named(clients)}", rates[clients], "requests/s", ALONE, alone.rate)
            # Busy neighbours change the clock's figures, and hardly these.
            if alone.cpu_ms is not None:
                yield make_row(
                    f"service's CPU an answer, {_named(clients)}", cpu[clients], "ms", ALONE, alone.cpu_ms
                )


def _named(clients: int) -> str:
    return f"{clients} client{'s' if clients > 1 else ''}"


def _share(requests: int, clients: int) -> int:
    """Requests of each client: fewer in all where fewer clients send them, so that none takes for ever."""
    return max(2, requests // (4 if clients == 1 else clients))


@contextmanager
def service_of(
    run: Path,
    options: Sequence[str],
    *,
    store: str | None = None,
    arguments: Sequence[str] = (),
    preexec: Callable[[], None] | None = None,
    log: IO[str] | None = None,
) -> Iterator[Measured]:
    """A `deeprec serve` of this run with these settings and further `arguments`.

    `store` is a URL; none: an empty one. Its log goes to `log`, or where ours goes. Raises EngineError where it
    doesn't start.
    """
    with tempfile.TemporaryDirectory(prefix="deeprec-bench-") as folder:
        program = "from deeprec.cli import main; main()"
        command = [sys.executable, "-c", program, "serve", str(run), "--port", "0", *arguments]
        command += ["--store", store or f"sqlite:///{Path(folder) / 'store.db'}"]
        for option in options:
            command += ["--set", option]
        # Keys that others use must not lock the benchmark out.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DEEPREC_")}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, preexec_fn=preexec
        ) as process:
            timer = threading.Timer(_START, process.kill)
            timer.start()
            try:
                line = process.stdout.readline() if process.stdout else ""
                timer.cancel()
                if "http://" not in line:
                    raise EngineError(f"`deeprec serve {run}` didn't start; run it to see why")
                yield Measured(urlsplit(line.split()[-1]).netloc, process.pid)
            finally:
                timer.cancel()
                process.terminate()


def _loaded(service: Measured, clients: int, each: int, users: Sequence[str], mode: str = "deeprec") -> Load:
    """What `clients` meet that send `each` requests one after the other, for different users."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    failures: list[BaseException] = []
    barrier = threading.Barrier(clients + 1)

    def client(number: int) -> None:
        try:
            own = islice(cycle(users), number * each, None)
            with closing(HTTPConnection(service.address, timeout=120)) as connection:
                for _ in range(min(_WARM_UP, each)):
                    _ask(connection, next(own), mode)
                barrier.wait()
                for _ in range(each):
                    started = time.perf_counter()
                    _ask(connection, next(own), mode)
                    latencies[number].append(time.perf_counter() - started)
        except BaseException as error:  # told in the thread that waits
            failures.append(error)
            barrier.abort()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    with progress_bar(f"{mode}, {_named(clients)}", None):
        for thread in threads:
            thread.start()
        started, used = time.perf_counter(), None
        try:
            barrier.wait()
            started, used = time.perf_counter(), service.cpu()
        except threading.BrokenBarrierError:
            pass
        for thread in threads:
            thread.join()
    seconds, now = time.perf_counter() - started, service.cpu()
    for failure in failures:
        if not isinstance(failure, threading.BrokenBarrierError):
            raise failure
    cpu = None if used is None or now is None else now - used
    return Load(tuple(value for own in latencies for value in own), seconds, cpu)


def _ask(connection: HTTPConnection, user: str, mode: str) -> None:
    with _sent(connection, "/v1/recommendations", {"user_id": user, "mode": mode}) as response:
        answer = json.loads(response.read())
    # An answer that came by another way would make the service look faster than it is.
    if response.status != 200 or (mode == "deeprec" and answer["stop_reason"] is None):
        raise EngineError(f"the service answered {response.status}: {str(answer)[:300]}")


def _first_event(address: str, user: str) -> float:
    """Seconds until the first turn arrives of a stream (its start comes at once)."""
    with closing(HTTPConnection(address, timeout=120)) as connection:
        started = time.perf_counter()
        with _sent(connection, "/v1/recommendations/stream", {"user_id": user}) as response:
            while (line := response.readline()) != b"event: thought\n":
                if not line:  # the policy never asked
                    break
            seconds = time.perf_counter() - started
            response.read()
    return seconds


def _sent(connection: HTTPConnection, path: str, body: dict[str, str]) -> HTTPResponse:
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection.getresponse()
