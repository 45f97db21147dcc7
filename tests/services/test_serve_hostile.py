"""What hostile clients send: told in a few words, at once, and never stored."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from serve_world import running, small_service

JSON = {"content-type": "application/json"}
NOW = time.time()
DAY = 86_400
# Nothing that is seen: one definition for ids, keys, titles, wherever they stand.
BLANK = [
    "",
    " ",
    "\t\n",
    "\x1c",
    "\x1f\x1d",
    "\x85",
    "\u00a0",
    "\u200b",
    "\u2028",
    "\u3000",
    "\ufeff",
    "\x7f",
]
UNKEPT = ["\x00", "a\x00b", "u1\x00"]
KEPT = [
    "a\x1cb",
    "\u202ereversed",
    "0",
    "é",
    "🙂",
    "'; DROP TABLE deeprec_users; --",
    "%00",
    "../../etc/passwd",
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service, _ = small_service(tmp_path_factory.mktemp("store") / "store.db", "serve.rate=0")
    with running(service) as opened:
        yield opened


def refused(response: httpx.Response, status: int = 422) -> list[dict[str, Any]]:
    """The errors of a problem document that is short, whatever was sent."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    assert len(response.content) < 5000
    errors = response.json()["errors"]
    assert len(errors) <= 10
    return errors


def post(client: httpx.Client, content: str | bytes, path: str = "/v1/recommendations") -> httpx.Response:
    return client.post(path, content=content, headers=JSON)


@pytest.mark.parametrize("text", [*BLANK, *UNKEPT])
def test_text_is_empty_or_unkept_everywhere_alike(client: httpx.Client, text: str) -> None:
    click = {"user_id": "u1", "item_id": "i1", "kind": "click"}
    for body, field in (
        ({"user_id": text}, "user_id"),
        ({"history": [{"title": text}]}, "history.0.title"),
        ({"history": [{"item_id": text}]}, "history.0.item_id"),
    ):
        assert refused(client.post("/v1/recommendations", json=body))[0]["field"] == field
    for field in ("user_id", "item_id", "request_id", "idempotency_key"):
        errors = refused(client.post("/v1/feedback", json=click | {field: text}))
        assert errors[0]["field"] == field
    found = client.get("/v1/users", params={"query": text})  # an empty one finds the first users
    assert found.status_code == (422 if len(text) > 1 and text in UNKEPT else 200)


@pytest.mark.parametrize("text", KEPT)
def test_whatever_can_be_seen_is_an_id(client: httpx.Client, text: str) -> None:
    click = {"user_id": text, "item_id": "i1", "kind": "click"}
    assert client.post("/v1/feedback", json=click).status_code == 201
    answer = client.post("/v1/recommendations", json={"user_id": text}).json()
    assert "i1" not in [item["item_id"] for item in answer["items"]]
    users = client.get("/v1/users", params={"query": text}).json()["users"]
    assert {"user_id": text, "interactions": 1} in users


def test_who_sends_nonsense_spoils_nobody(client: httpx.Client) -> None:
    """The bodies that made the gathered batch of innocent requests fail."""
    nonsense = [
        '{"user_id": "\\u001c"}',
        '{"user_id": "\\ud800"}',
        '{"user_id": "\\u0000"}',
        '{"user_id": "\\u200b"}',
    ]
    with ThreadPoolExecutor(16) as pool:
        wrong = [pool.submit(post, client, nonsense[number % 4]) for number in range(40)]
        right = [
            pool.submit(client.post, "/v1/recommendations", json={"user_id": f"u{number}", "mode": "trm"})
            for number in range(1, 40)
        ]
        assert {one.result(20).status_code for one in wrong} == {422, 400}
        assert {one.result(20).status_code for one in right} == {200}


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (1_600_000_000_000, "divide by 1,000"),
        (1_600_000_000_000_000, "since 1970"),
        (1e300, "since 1970"),
        pytest.param(NOW + 11 * 365.25 * DAY, "since 1970", id="in eleven years"),
        (-1, "greater than or equal to 0"),
        (-1e300, "greater than or equal to 0"),
        (10**400, "valid number"),
        ("1600000000", "valid number"),
        (True, "valid number"),
    ],
)  # fmt: skip
def test_times_that_are_none_are_named(client: httpx.Client, seconds: object, told: str) -> None:
    body = json.dumps({"history": [{"item_id": "i1"}, {"item_id": "i2", "timestamp": seconds}]})
    for path, method in (("/v1/recommendations", "POST"), ("/v1/users/ms/history", "PUT")):
        response = client.request(method, path, content=body, headers=JSON)
        # A number of 400 digits is one for JSON, and for nobody else.
        (error,) = refused(response)
        assert error["field"] == "history.1.timestamp"
        assert told in error["remedy"]
    assert client.get("/v1/users/ms/history").status_code == 404  # nothing of it was stored


@pytest.mark.parametrize(
    "seconds",
    [
        0,
        0.5,
        1_600_000_000,
        pytest.param(NOW, id="now"),
        pytest.param(NOW + 9 * 365.25 * DAY, id="in nine years"),
    ],
)
def test_times_that_can_be_are_taken(client: httpx.Client, seconds: float) -> None:
    body = {"history": [{"item_id": "i1", "timestamp": seconds}]}
    assert client.post("/v1/recommendations", json=body).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"user_id": "u1", "deadline_ms": 1' + "0" * 400 + "}",
        '{"user_id": "u1", "k": 1' + "0" * 400 + "}",
        '{"user_id": "u1", "max_turns": 1' + "0" * 4000 + "}",
        '{"user_id": "u1", "k": -1' + "0" * 400 + "}",
        '{"history": [{"item_id": "i1", "rating": 1e300}]}',
        '{"history": [{"item_id": "i1", "rating": 1e400}]}',
        '{"history": [{"item_id": "i1", "timestamp": NaN}]}',
        '{"history": {"0": "i1"}}',
        '{"history": "i1"}',
        '{"history": [null]}',
        '{"history": [[[["i1"]]]]}',
        '{"user_id": ["u1"]}',
        '{"user_id": {"$ne": null}}',
        '["u1"]',
        "7",
        "null",
    ],
)
def test_what_is_no_request_is_told(client: httpx.Client, body: str) -> None:
    refused(post(client, body))
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "body",
    [b"{", b"[" * 100_000, b'{"a":' * 50_000, b'{"k": 1' + b"0" * 100_000 + b"}", b"\xff\xfe", b'"\\ud800"', b"nul"],
)  # fmt: skip
def test_what_is_no_json_is_told(client: httpx.Client, body: bytes) -> None:
    (error,) = refused(post(client, body), 400)
    assert (error["field"], error["value"]) == ("body", None)
    assert "is not JSON" in error["remedy"]


@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, identity", "x" * 5000])
def test_a_body_that_is_packed_is_not_unpacked(client: httpx.Client, coding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": coding}
    bomb = gzip.compress(b" " * 10_000_000)[:8000]
    answer = client.post("/v1/recommendations", content=bomb, headers=headers)
    assert (answer.status_code, "send it as it is" in answer.json()["detail"]) == (415, True)
    headers["content-encoding"] = "Identity"
    assert client.post("/v1/recommendations", content=b'{"user_id": "u1"}', headers=headers).is_success


@pytest.mark.parametrize(
    "body",
    [
        '{"history": [' + "1," * 125_000 + "1]}",
        '{"history": [' + '{"item_id": "i1"},' * 14_000 + "{}]}",
        '{"history": [' + '{"":1},' * 999 + "{}]}",
        '{"history": [{' + ",".join(f'"{number}":0' for number in range(20_000)) + "}]}",
        "{" + ",".join(f'"{number}":0' for number in range(20_000)) + "}",
        "{" + ",".join(f'"{number}":0' for number in range(18)) + "}",
        '{"history": [{"title": "' + "x" * 250_000 + '"}]}',
        '{"user_id": "' + "x" * 250_000 + '"}',
        '{"' + "x" * 250_000 + '": 1}',
        '{"run": "' + "é" * 100_000 + '"}',
    ],
    ids=range(10),
)
@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/users/x/history", "/v1/feedback"])
def test_a_long_body_costs_and_tells_little(client: httpx.Client, path: str, body: str) -> None:
    method = "PUT" if path.endswith("history") else "POST"
    started = time.thread_time()
    refused(client.request(method, path, content=body, headers=JSON))
    assert time.thread_time() - started < 5  # of this client alone: the answer is short


def test_many_unknown_parameters_are_one_error(client: httpx.Client) -> None:
    for path in ("/v1/items", "/v1/users", "/v1/runs/small/trajectories"):
        (error,) = refused(client.get(f"{path}?{'&'.join(f'a{number}=1' for number in range(1500))}"))
        assert "1500 keys" in error["remedy"]


def test_queries_may_hold_anything(client: httpx.Client) -> None:
    for query in ("%", "_", "\\", "'", "a%00b", "\ud7ff", "x" * 257, "[", "*"):
        for path in ("/v1/users", "/v1/items"):
            assert client.get(path, params={"query": query}).status_code in (200, 422)
    users = client.get("/v1/users?query=%25").json()["users"]
    assert all("%" in user["user_id"] for user in users)  # it is no pattern
    assert client.get("/v1/users?query=%ED%A0%80").status_code == 400  # half a pair is no UTF-8
    for path in ("/v1/items/%00", "/v1/items/%20", "/v1/users/%1c/history"):
        refused(client.get(path))


@pytest.mark.parametrize(
    "address",
    [
        "/v1/users/Jos%E9/history",
        "/v1/users/%ED%A0%80/history",
        "/v1/users/u1%C3/history",
        "/v1/items/%ff",
        "/v1/items?query=%E9",
        "/v1/users?query=a&limit=%fe",
        "/v1/runs/%80/metrics",
    ],
)
def test_an_address_that_is_no_utf_8_is_refused_and_nobody_is_taken_for_another(
    client: httpx.Client, address: str
) -> None:
    response = client.get(address)
    assert refused(response, 400) == []
    assert "UTF-8" in response.json()["detail"]
    assert client.put("/v1/users/Jos%E9/history", json={"history": [{"item_id": "i1"}]}).status_code == 400
    assert client.get("/v1/users", params={"query": "Jos"}).json() == {"users": []}


def test_what_is_utf_8_is_one_user_however_it_is_escaped(client: httpx.Client) -> None:
    sent = {"history": [{"item_id": "i1"}]}
    assert client.put("/v1/users/Jos%C3%A9/history", json=sent).status_code == 200
    found = client.get("/v1/users/%4aos%c3%a9/history").json()
    assert (found["user_id"], len(found["history"])) == ("José", 1)
    assert client.delete("/v1/users/Jos%C3%A9").status_code == 204
