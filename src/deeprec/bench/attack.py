"""The rows of `deeprec bench attack`: what honest clients of a real service notice while it is attacked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import cycle
from pathlib import Path

import numpy as np

from deeprec.bench.attacks import ATTACKS, Attack
from deeprec.bench.rows import Row, make_row
from deeprec.bench.serve import Measured, service_of
from deeprec.errors import EngineError
from deeprec.progress import progress_bar
from deeprec.serve.keyring import add_key
from deeprec.serve.keys import SCOPES
from deeprec.store import HistoryEntry, open_store

GOAL_MS = 250.0  # of /healthz at p99
GOAL_RATIO = 2.0  # of an honest answer's p99 to that without an attack
_CLIENTS = 4
_EVERY, _PROBE = 0.25, 0.05  # seconds from one request of an honest client, and of the prober, to the next
_QUIET = "quiet"


@dataclass
class Noticed:
    """Latencies in seconds of honest clients, and what they got that they should not."""

    health: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    attackers: dict[str, int] = field(default_factory=dict)
    cpu: float = 0.0  # seconds of the service's processors in each second, where the system tells

    def health_ms(self) -> float:
        """`/healthz` at p99."""
        return 1000 * float(np.percentile(self.health, 99))

    def answer_ms(self) -> float:
        """An answer of the policy at p99."""
        return 1000 * float(np.percentile(self.answers, 99))


def attack_rows(
    run: Path,
    users: Sequence[str],
    *,
    rate: float = 50.0,
    seconds: float = 10.0,
    only: Sequence[str] = (),
    stored_users: int = 20_000,
    options: Sequence[str] = (),
) -> Iterator[Row]:
    """Rows of each attack, after two without one: p99 of `/healthz`, that of honest requests beside that without,
    and what a hostile request costs the service.

    The service is a process of its own with its ordinary limits and named keys; attackers, a
    further process, have a key like anybody. Honest clients ask for the policy's answer four
    times a second each. The store holds `stored_users` histories. A row's peer tells what
    the attackers got. Raises EngineError where an honest request fails.
    """
    chosen = [attack for attack in ATTACKS if not only or any(word in attack.name for word in only)]
    if not chosen:
        raise EngineError(
            f"--only {', '.join(only)}: no such attack; there are: {', '.join(a.name for a in ATTACKS)}"
        )
    with tempfile.TemporaryDirectory(prefix="deeprec-attack-") as folder:
        file = Path(folder) / "keys.toml"
        honest, attacker = (add_key(file, name, SCOPES) for name in ("honest", "attacker"))
        store = f"sqlite:///{Path(folder) / 'store.db'}"
        _fill(store, stored_users)
        extra = ("--keys", str(file))
        with service_of(run, options, store=store, arguments=extra) as service, progress_bar("attacks", None):
            _notice(service, honest, users, min(3.0, seconds))  # the first requests warm caches up
            quiet = _notice(service, honest, users, 2 * seconds)
            _check(quiet, _QUIET)
            yield make_row(f"/healthz p99, {_QUIET}", quiet.health_ms(), "ms", "goal", GOAL_MS)
            yield make_row(f"answer p99, {_QUIET}", quiet.answer_ms(), "ms", "", None)
            for attack in chosen:
                with _attacking(service, attack, attacker, run, rate, seconds) as result:
                    found = _notice(service, honest, users, seconds)
                found.attackers = result()
                _check(found, attack.name)
                told = ", ".join(f"{count} x {status}" for status, count in sorted(found.attackers.items()))
                yield make_row(f"/healthz p99, {attack.name}", found.health_ms(), "ms", "goal", GOAL_MS)
                yield make_row(f"answer p99, {attack.name}", found.answer_ms(), "ms", f"quiet; attackers got {told}",
                               quiet.answer_ms())  # fmt: skip
                # Busy neighbours change the clock's figures, and hardly this.
                cost = 1000 * (found.cpu - quiet.cpu) / rate
                yield make_row(f"service's CPU, {attack.name}", cost, "ms a request", "", None)


def missed(rows: Sequence[Row]) -> list[Row]:
    """The rows that miss a goal."""
    return [
        row
        for row in rows
        if (row.name.startswith("/healthz") and row.value > GOAL_MS)
        or (row.name.startswith("answer") and row.ratio is not None and row.ratio > GOAL_RATIO)
    ]


def _fill(store: str, users: int) -> None:
    entries = [HistoryEntry(f"i{number}") for number in range(1, 21)]
    with open_store(store) as opened:
        opened.put_histories({f"stored-{number}": entries for number in range(users)})


def _check(found: Noticed, name: str) -> None:
    if found.wrong or not found.answers or not found.health:
        told = ", ".join(f"{count} x {what}" for what, count in found.wrong.items()) or "nothing was answered"
        raise EngineError(f"{name}: honest clients got {told}")


def _notice(service: Measured, key: str, users: Sequence[str], seconds: float) -> Noticed:
    """What honest clients notice in so many seconds."""
    found, used, began = Noticed(), service.cpu(), time.monotonic()
    until = began + seconds
    clients = [
        threading.Thread(target=_client, args=(service, key, users[number::_CLIENTS] or users, until, found))
        for number in range(_CLIENTS)
    ]
    clients.append(threading.Thread(target=_prober, args=(service, until, found)))
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    now = service.cpu()
    if used is not None and now is not None:
        found.cpu = (now - used) / (time.monotonic() - began)
    return found


def _client(service: Measured, key: str, users: Sequence[str], until: float, found: Noticed) -> None:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}

    def ask(connection: HTTPConnection, user: str) -> str | None:
        connection.request("POST", "/v1/recommendations", json.dumps({"user_id": user}), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            return str(response.status)
        return None if answer["stop_reason"] is not None else str(answer["reason"])

    names = cycle(users)
    with closing(HTTPConnection(service.address, timeout=60)) as connection:
        _repeat(lambda: ask(connection, next(names)), _EVERY, until, found.answers, found.wrong, connection)


def _prober(service: Measured, until: float, found: Noticed) -> None:
    def probe() -> str | None:
        with closing(HTTPConnection(service.address, timeout=60)) as connection:
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            response.read()
            return None if response.status == 200 else str(response.status)

    _repeat(probe, _PROBE, until, found.health, found.wrong, None)


def _repeat(
    act: Callable[[], str | None],
    every: float,
    until: float,
    latencies: list[float],
    wrong: Counter[str],
    connection: HTTPConnection | None,
) -> None:
    """Act at regular times; what comes late is measured from when it was due, not from when its turn came."""
    due = time.monotonic()
    while due < until:
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            trouble = act()
        except OSError as error:
            trouble = type(error).__name__
            if connection is not None:
                connection.close()
        if trouble is None:
            latencies.append(time.monotonic() - due)
        else:
            wrong[trouble] += 1
        due += every


@contextmanager
def _attacking(
    service: Measured, attack: Attack, key: str, run: Path, rate: float, seconds: float
) -> Iterator[Callable[[], dict[str, int]]]:
    """An attacking process; what it got is told after the block."""
    host, _, port = service.address.partition(":")
    command = [
        sys.executable,
        "-m",
        "deeprec.bench.attacks",
        attack.name,
        host,
        port,
        key,
        run.resolve().name,
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*command, str(rate), str(seconds)], stdout=subprocess.PIPE, text=True, env=environment
    )
    counts: dict[str, int] = {}
    try:
        yield lambda: counts
        output, _ = process.communicate(timeout=60)
        counts.update(json.loads(output))
    finally:
        process.kill()
        process.wait()
