"""Who is new, and who is known by clicks alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_world import running, small_environment, small_service

Answer = dict[str, Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    service, _ = small_service(tmp_path_factory.mktemp("store") / "store.db", "serve.rate=0")
    with running(service) as opened:
        yield opened


def ask(client: httpx.Client, **body: object) -> Answer:
    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer: Answer) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def click(client: httpx.Client, user: str, item: str) -> None:
    sent = {"user_id": user, "item_id": item, "kind": "click"}
    assert client.post("/v1/feedback", json=sent).status_code == 201


def popular(count: int) -> list[str]:
    """The items with most interactions, counted without the service."""
    dataset = small_environment().dataset
    counts = Counter(dataset.interactions["item_index"].to_list())
    best = sorted(counts, key=lambda item: (-counts[item], item))
    return [dataset.catalog[item].item_id for item in best[:count]]


@pytest.mark.parametrize("body", [{"history": []}, {"user_id": "stranger"}, {"history": [], "mode": "trm"}])
def test_a_newcomer_gets_what_is_popular_and_is_told_so(client: httpx.Client, body: Answer) -> None:
    answer = ask(client, k=5, **body)
    assert ids(answer) == popular(5)
    assert (answer["source"], answer["turns"], answer["tokens"]) == ("trm", [], 0)
    assert answer["reason"].startswith("newcomer: nothing is known of this user")
    with client.stream("POST", "/v1/recommendations/stream", json={"k": 5, **body}) as response:
        lines = [line for line in response.iter_lines() if line.startswith("event: ")]
    assert lines == ["event: start", "event: ranking"]


def test_a_click_is_a_history_and_its_item_is_not_recommended_again(client: httpx.Client) -> None:
    first = popular(1)[0]
    click(client, "clicker", first)
    history = client.get("/v1/users/clicker/history").json()["history"]
    assert [item["item_id"] for item in history] == [first]
    answer = ask(client, user_id="clicker", k=20)
    assert first not in ids(answer)
    assert not (answer["reason"] or "").startswith("newcomer")
    assert {"user_id": "clicker", "interactions": 1} in client.get("/v1/users?query=click").json()["users"]


def test_clicks_come_behind_what_the_data_know(client: httpx.Client) -> None:
    dataset = small_environment().dataset
    known = dataset.known_history("u7").history
    new = next(item.item_id for item in dataset.catalog.items if item.item_index not in known)
    click(client, "u7", new)
    history = [item["item_id"] for item in client.get("/v1/users/u7/history").json()["history"]]
    assert history == [*(dataset.catalog[item].item_id for item in known), new]
    assert new not in ids(ask(client, user_id="u7", k=20))
    # An item that is in the history already isn't added again; a rating is given to it.
    sent = {"user_id": "u7", "item_id": new, "kind": "rating", "value": 2}
    assert client.post("/v1/feedback", json=sent).status_code == 201
    last = client.get("/v1/users/u7/history").json()["history"][-1]
    assert (last["item_id"], last["rating"]) == (new, 2)


def test_clicks_come_behind_a_history_that_was_put(client: httpx.Client) -> None:
    put = {"history": [{"item_id": "i9"}, {"item_id": "i8"}]}
    assert client.put("/v1/users/both/history", json=put).status_code == 200
    click(client, "both", "i2")
    history = client.get("/v1/users/both/history").json()["history"]
    assert [item["item_id"] for item in history] == ["i9", "i8", "i2"]
    assert "i2" not in ids(ask(client, user_id="both", k=20))


def test_impressions_tell_nothing(client: httpx.Client) -> None:
    sent = {"user_id": "shown", "item_id": "i3", "kind": "impression"}
    assert client.post("/v1/feedback", json=sent).status_code == 201
    assert ask(client, user_id="shown")["reason"].startswith("newcomer")
    assert client.get("/v1/users?query=shown").json() == {"users": []}


def test_who_had_everything_gets_an_empty_list(client: httpx.Client) -> None:
    everything = [{"item_id": item.item_id} for item in small_environment().dataset.catalog.items]
    for mode in ("trm", "deeprec"):
        assert ids(ask(client, history=everything, mode=mode)) == []
    assert len(ids(ask(client, history=everything[1:], mode="trm"))) == 1


def test_repeated_rows_count_once(client: httpx.Client) -> None:
    once = [{"item_id": "i4"}, {"item_id": "i5"}]
    found = ask(client, history=once, k=8)
    again = ask(client, history=[once[0]] * 400 + [once[1]] * 300 + [once[0]] * 200, k=8)
    assert ids(again) == ids(found)
    assert [turn["preference"] for turn in again["turns"]] == [turn["preference"] for turn in found["turns"]]


def test_store_away_is_no_reason_to_take_a_user_for_a_newcomer(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.mkdir()
    service, _ = small_service(path, "serve.rate=0")
    with running(service) as opened:
        assert opened.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 503
        assert ids(ask(opened, history=[], k=5)) == popular(5)
