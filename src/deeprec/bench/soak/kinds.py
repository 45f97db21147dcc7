"""What the clients of a soak ask for, how often, and which statuses they should get."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

DEEPREC, DEEPREC_USER, STREAM, TRM = "deeprec, a history", "deeprec, a user", "stream", "trm, a history"
_RECOMMEND = "/v1/recommendations"
_JSON = "application/json"
_VISITORS = 1000  # users who come to be known while it runs


@dataclass(frozen=True)
class World:
    """What is asked about."""

    users: Sequence[str]  # of the run's data
    items: Sequence[str]  # ids

    def history(self, rng: Random) -> list[dict[str, str]]:
        """A history of some items, none twice."""
        return [{"item_id": item} for item in rng.sample(self.items, min(len(self.items), rng.randint(1, 8)))]


@dataclass(frozen=True)
class Sent:
    """One request, and which statuses are right."""

    method: str
    path: str
    body: str | None = None
    right: frozenset[int] = frozenset({200})
    feedback: str | None = None  # key of the feedback that is acknowledged by these statuses
    media_type: str = _JSON


@dataclass(frozen=True)
class Kind:
    """A kind of request, and its share of all in percent."""

    name: str
    share: int
    make: Callable[[World, Random, str], Sent]  # the text is unique to the request
    needs_store: bool = False  # may answer 503 while the database is away


def _recommend(world: World, rng: Random, _: str) -> Sent:
    return Sent("POST", _RECOMMEND, json.dumps({"history": world.history(rng)}))


def _recommend_user(world: World, rng: Random, _: str) -> Sent:
    return Sent("POST", _RECOMMEND, json.dumps({"user_id": rng.choice(world.users)}))


def _stream(world: World, rng: Random, _: str) -> Sent:
    return Sent("POST", f"{_RECOMMEND}/stream", json.dumps({"history": world.history(rng)}))


def _trm(world: World, rng: Random, _: str) -> Sent:
    return Sent("POST", _RECOMMEND, json.dumps({"history": world.history(rng), "mode": "trm"}))


def _feedback(world: World, rng: Random, key: str) -> Sent:
    kind = rng.choice(["impression", "impression", "click", "rating"])
    body: dict[str, object] = {"user_id": _visitor(rng), "item_id": rng.choice(world.items), "kind": kind}
    if kind == "rating":
        body["value"] = rng.randint(1, 5)
    # 200: it was known already, as where an earlier answer to the same request was lost on its way.
    return Sent("POST", "/v1/feedback", json.dumps({**body, "idempotency_key": key}),
                frozenset({200, 201}), feedback=key)  # fmt: skip


def _put(world: World, rng: Random, _: str) -> Sent:
    path = f"/v1/users/{_visitor(rng)}/history"
    return Sent("PUT", path, json.dumps({"history": world.history(rng)}))


def _get(_: World, rng: Random, __: str) -> Sent:
    return Sent("GET", f"/v1/users/{_visitor(rng)}/history", right=frozenset({200, 404}))


def _users(_: World, rng: Random, __: str) -> Sent:
    return Sent("GET", f"/v1/users?query={rng.randint(1, 99)}&limit=20")


def _items(_: World, rng: Random, __: str) -> Sent:
    return Sent("GET", f"/v1/items?query={rng.choice('aeiou')}&limit=20")


def _visitor(rng: Random) -> str:
    return f"visitor-{rng.randrange(_VISITORS)}"


def _wrong(_: World, rng: Random, __: str) -> Sent:
    return rng.choice(WRONG)


def _asked(body: object, status: int, media_type: str = _JSON) -> Sent:
    text = body if isinstance(body, str) else json.dumps(body)
    return Sent("POST", _RECOMMEND, text, frozenset({status}), media_type=media_type)


WRONG = (
    _asked("{", 400),
    _asked({"user_id": ""}, 422),
    _asked({"user_id": "\x1c"}, 422),
    _asked({"history": [{"title": "The Quiet Elephnat of Nowhere"}]}, 422),
    _asked({"history": [{"item_id": "no such item"}]}, 422),
    _asked({"history": [], "k": 10**9}, 422),
    _asked({"history": [], "deadline_ms": 10**400}, 422),
    _asked({"history": [], "nonsense": 1}, 422),
    _asked("[" * 1000, 400),
    _asked(" " * 2_000_000, 413),
    _asked("{}", 415, "text/plain"),
    Sent("GET", "/v1/nothing", right=frozenset({404})),
    Sent("DELETE", "/v1/items", right=frozenset({405})),
)

KINDS = (
    Kind(DEEPREC, 20, _recommend),
    Kind(DEEPREC_USER, 20, _recommend_user, needs_store=True),
    Kind(STREAM, 8, _stream),
    Kind(TRM, 12, _trm),
    Kind("feedback", 18, _feedback, needs_store=True),
    Kind("put a history", 4, _put, needs_store=True),
    Kind("get a history", 4, _get, needs_store=True),
    Kind("users by id", 4, _users, needs_store=True),
    Kind("items by title", 4, _items),
    Kind("a wrong one", 5, _wrong),
    Kind("health", 1, lambda *_: Sent("GET", "/healthz")),
)
