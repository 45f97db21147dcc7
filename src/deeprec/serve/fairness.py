"""A queue in which nobody waits behind more than one request of each other client."""

from __future__ import annotations

from collections import deque
from typing import Generic, Protocol, TypeVar

from deeprec.errors import EngineError


class Waiting(Protocol):
    """What waits: a request of somebody."""

    @property
    def client(self) -> str:
        """Whose it is."""


W = TypeVar("W", bound=Waiting)


class QueueFullError(EngineError):
    """As many requests wait as may."""


class FairQueue(Generic[W]):
    """Requests by client: they are taken in turn, one of each client, the oldest first.

    Where it is full the client with most requests makes room for others, with its latest one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._clients: dict[str, deque[W]] = {}  # the one whose turn it is first

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._clients.values()))

    def put(self, one: W) -> W | None:
        """Have a request wait; the one that has to go for it, if any. Raises QueueFullError for lack of room."""
        own, displaced = self._clients.get(one.client, ()), None
        if len(self) >= self._most:
            longest = max(self._clients.values(), key=len)
            if len(longest) <= len(own) + 1:
                raise QueueFullError(f"{len(self)} requests wait already")
            displaced = longest.pop()
        self._clients.setdefault(one.client, deque()).append(one)
        return displaced

    def take(self) -> W:
        """The next one; there must be one."""
        client, requests = next(iter(self._clients.items()))
        found = requests.popleft()
        del self._clients[client]
        if requests:
            self._clients[client] = requests  # behind all others
        return found

    def discard(self, one: W) -> None:
        """Let one go, if it is here."""
        requests = self._clients.get(one.client, deque())
        if one in requests:
            requests.remove(one)
            if not requests:
                del self._clients[one.client]

    def empty(self) -> list[W]:
        """Take all."""
        return [self.take() for _ in range(len(self))]
