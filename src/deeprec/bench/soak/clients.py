"""Clients that ask one thing after the other, and write down what came back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from random import Random

from deeprec.bench.soak.kinds import KINDS, STREAM, Kind, Sent, World

_PATIENCE = 60.0  # seconds that a client waits for an answer


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one request."""

    kind: Kind
    began: float  # by time.monotonic()
    seconds: float
    told: str  # the status, with what kept the policy from answering; or the class of an error
    is_right: bool
    feedback: str | None = None  # key of feedback that was acknowledged

    @property
    def ended(self) -> float:
        """When its answer was there."""
        return self.began + self.seconds


@contextmanager
def clients(
    address: str, keys: Sequence[str], world: World, pause: float, seed: int, hear: Callable[[Outcome], None]
) -> Iterator[None]:
    """While the block runs each of `keys` is a client, who waits about `pause` seconds after each answer."""
    over = threading.Event()
    threads = [
        threading.Thread(
            target=_client,
            args=(address, key, world, pause, f"{seed}-{number}", over, hear),
        )
        for number, key in enumerate(keys)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _client(
    address: str,
    key: str,
    world: World,
    pause: float,
    name: str,
    over: threading.Event,
    hear: Callable[[Outcome], None],
) -> None:
    rng, weights, number = Random(name), [kind.share for kind in KINDS], 0
    with closing(HTTPConnection(address, timeout=_PATIENCE)) as connection:
        while not over.wait(rng.uniform(0, 2 * pause)):
            kind, number = rng.choices(KINDS, weights)[0], number + 1
            hear(ask(connection, key, kind, kind.make(world, rng, f"soak-{name}-{number}")))


def ask(connection: HTTPConnection, key: str, kind: Kind, sent: Sent) -> Outcome:
    """Send one request, and judge what comes back."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": sent.media_type}
    began = time.monotonic()
    try:
        connection.request(sent.method, sent.path, sent.body, headers)
        response = connection.getresponse()
        content, status = response.read(), response.status
    except (OSError, HTTPException) as error:
        connection.close()
        # A service may hang up on who sends more than it takes, before it is all sent.
        is_right = 413 in sent.right and isinstance(error, OSError)
        return Outcome(kind, began, time.monotonic() - began, type(error).__name__, is_right)
    seconds, reason = time.monotonic() - began, _trouble(kind, status, content)
    told, is_right = f"{status} {reason}".strip(), status in sent.right and reason in ("", "deadline", "busy")
    return Outcome(kind, began, seconds, told, is_right, sent.feedback if is_right else None)


def _trouble(kind: Kind, status: int, content: bytes) -> str:
    """Why the policy did not answer, in a word, where it was asked to: `deadline`, `busy`, `engine`."""
    if status != 200 or not kind.name.startswith(("deeprec", STREAM)):
        return ""
    if kind.name == STREAM:
        _, found, content = content.partition(b"event: ranking\n")
        if not found:
            return "no ranking"
        content = content.partition(b"data: ")[2].splitlines()[0]
    reason = json.loads(content)["reason"] or ""
    word = str(reason).partition(":")[0]
    return word if word in ("deadline", "busy", "engine") else ""
