"""The rest of the interface over HTTP: users, items, feedback, bad input, keys, the store away."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_world import running, small_environment, small_service

from deeprec.serve.app import create_app
from deeprec.serve.keyring import Keyring
from deeprec.serve.page import FOLDER

KEY = "a-key-that-nobody-guesses"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Tests use users of their own."""
    service, _ = small_service(
        tmp_path_factory.mktemp("store") / "store.db",
        "serve.rate=0", "serve.history=20", "serve.k=20",
    )  # fmt: skip
    with running(service) as opened:
        yield opened


@pytest.fixture
def titles() -> list[str]:
    return [item.label for item in small_environment().dataset.catalog.items]


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The document of an answer, which must be one."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert {"type", "title", "status", "detail", "instance", "errors"} == document.keys()
    assert document["status"] == status
    assert "Traceback" not in response.text
    return document


class TestUsers:
    def test_a_history_is_put_got_used_and_deleted(self, client: httpx.Client, titles: list[str]) -> None:
        place = "/v1/users/new one/history"
        sent = [{"title": titles[3], "timestamp": 5, "rating": 4.5}, {"item_id": "i1"}]
        put = client.put(place, json={"history": sent})
        assert put.status_code == 200
        assert client.get(place).json() == put.json()
        assert [item["title"] for item in put.json()["history"]] == [titles[3], titles[0]]
        assert put.json()["history"][0] | {"item_id": ""} == sent[0] | {"item_id": ""}
        answer = client.post("/v1/recommendations", json={"user_id": "new one"}).json()
        assert not {titles[0], titles[3]} & {item["title"] for item in answer["items"]}
        assert {"user_id": "new one", "interactions": 2} in client.get("/v1/users?query=new").json()["users"]
        assert client.delete("/v1/users/new one").status_code == 204
        problem(client.get(place), 404)
        assert client.get("/v1/users?query=new").json() == {"users": []}

    def test_a_user_of_the_data_has_its_history_until_another_is_put(self, client: httpx.Client) -> None:
        known = small_environment().dataset.known_history("u2")
        found = client.get("/v1/users/u2/history").json()["history"]
        catalog = small_environment().dataset.catalog
        assert [item["item_id"] for item in found] == [catalog[item].item_id for item in known.history]
        assert [item["timestamp"] for item in found] == list(known.timestamps)
        client.put("/v1/users/u2/history", json={"history": [{"item_id": "i5"}]})
        assert [item["item_id"] for item in client.get("/v1/users/u2/history").json()["history"]] == ["i5"]
        assert client.get("/v1/users?query=u2&limit=1").json() == {
            "users": [{"user_id": "u2", "interactions": 1}]
        }

    def test_a_deleted_user_of_the_data_is_gone_everywhere(self, client: httpx.Client) -> None:
        feedback = {"user_id": "u3", "item_id": "i1", "kind": "click"}
        assert client.post("/v1/feedback", json=feedback).status_code == 201
        assert client.delete("/v1/users/u3").status_code == 204
        assert client.delete("/v1/users/u3").status_code == 204
        problem(client.get("/v1/users/u3/history"), 404)
        answer = client.post("/v1/recommendations", json={"user_id": "u3"}).json()
        assert answer["reason"].startswith("newcomer")
        assert "u3" not in {user["user_id"] for user in client.get("/v1/users?limit=100").json()["users"]}
        again = client.post("/v1/feedback", json=feedback)
        assert (again.status_code, again.json()) == (200, {"stored": False})

    def test_nobody_can_be_deleted(self, client: httpx.Client) -> None:
        assert "nobody" in problem(client.delete("/v1/users/nobody"), 404)["detail"]

    def test_an_id_may_hold_a_slash(self, client: httpx.Client) -> None:
        for path in ("/v1/users/a%2Fb/history", "/v1/users/a/b/history"):
            assert client.put(path, json={"history": [{"item_id": "i5"}]}).json()["user_id"] == "a/b"
        assert client.delete("/v1/users/a/b").status_code == 204

    def test_users_are_found_by_their_id(self, client: httpx.Client) -> None:
        found = [user["user_id"] for user in client.get("/v1/users?query=u1&limit=5").json()["users"]]
        assert found[0] == "u1"
        assert len(found) == 5
        assert all("u1" in user for user in found)


class TestFeedback:
    def test_a_key_makes_sending_again_harmless(self, client: httpx.Client) -> None:
        sent = {
            "user_id": "rater", "item_id": "i2", "kind": "rating", "value": 4, "idempotency_key": "k",
            "request_id": "r", "run": "small",
        }  # fmt: skip
        first, second = (client.post("/v1/feedback", json=sent) for _ in range(2))
        assert (first.status_code, first.json()) == (201, {"stored": True})
        assert (second.status_code, second.json()) == (200, {"stored": False})

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"item_id": "i999"}, "item_id"),
            ({"kind": "rating"}, "value"),
            ({"value": 3}, "value"),
            ({"kind": "like"}, "kind"),
            ({"user_id": " "}, "user_id"),
            ({"run": "other"}, "run"),
        ],
    )
    def test_what_is_wrong_is_named(
        self, client: httpx.Client, change: dict[str, object], field: str
    ) -> None:
        sent = {"user_id": "u", "item_id": "i1", "kind": "click"} | change
        assert problem(client.post("/v1/feedback", json=sent), 422)["errors"][0]["field"] == field


class TestItems:
    def test_search_ranks_equal_first_then_beginnings(self, client: httpx.Client, titles: list[str]) -> None:
        title = titles[7]
        found = client.get("/v1/items", params={"query": title.upper()}).json()["items"]
        assert found[0]["title"] == title
        part = client.get("/v1/items", params={"query": "the", "limit": 3}).json()["items"]
        assert len(part) == 3
        assert all(item["title"].lower().startswith("the") for item in part)

    def test_one_item(self, client: httpx.Client, titles: list[str]) -> None:
        item = client.get("/v1/items/i1").json()
        assert (item["item_id"], item["title"]) == ("i1", titles[0])
        problem(client.get("/v1/items/i999"), 404)


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "field", "remedy"),
        [
            ({}, "user_id", "either user_id or history"),
            ({"user_id": "u1", "history": [{"item_id": "i1"}]}, "user_id", "not both"),
            ({"history": [{"item_id": "i1"}] * 21}, "history", "at most 20 items"),
            ({"history": [{"item_id": "i99"}]}, "history.0.item_id", "no item has this id"),
            ({"history": [{"title": "Nowhere"}]}, "history.0.title", "no item is called so"),
            ({"history": [{"title": "x" * 501}]}, "history.0.title", "at most 500"),
            ({"history": [{}]}, "history.0", "either item_id or title"),
            ({"history": [{"item_id": "i1", "timestamp": 5}, {"item_id": "i2", "timestamp": 4}]},
             "history.1.timestamp", "goes back in time"),
            ({"history": [{"item_id": "i1", "rating": "5"}]}, "history.0.rating", "valid number"),
            ({"user_id": "u1", "k": 25}, "k", "at most 24 items in the catalogue"),
            ({"user_id": "u1", "k": 21}, "k", "at most 20 items in an answer"),
            ({"user_id": "u1", "k": 0}, "k", "greater than or equal to 1"),
            ({"user_id": "u1", "k": "5"}, "k", "valid integer"),
            ({"user_id": "u1", "k": True}, "k", "valid integer"),
            ({"user_id": "u1", "max_turns": 17}, "max_turns", "at most 16"),
            ({"user_id": "u1", "deadline_ms": 10**9}, "deadline_ms", "at most 60000"),
            ({"user_id": "u1", "top": 3}, "top", "no such key"),
            ({"user_id": "u1", "mode": "best"}, "mode", "'deeprec' or 'trm'"),
            ({"user_id": 7}, "user_id", "valid string"),
            ([], "body", ""),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/recommendations/stream"])
    def test_field_value_and_remedy(
        self, client: httpx.Client, path: str, body: Any, field: str, remedy: str
    ) -> None:
        errors = problem(client.post(path, json=body), 422)["errors"]
        assert errors[0]["field"] == field
        assert remedy in errors[0]["remedy"]

    def test_an_ambiguous_title_has_candidates(self, client: httpx.Client) -> None:
        from deeprec.data.catalog import Catalog
        from deeprec.serve.problems import Problem
        from deeprec.serve.titles import TitleSearch
        from deeprec.types import Item

        catalog = Catalog((Item(1, "a", "Emma", "Emma (1996)"), Item(2, "b", "Emma", "Emma (2020)")))
        with pytest.raises(Problem) as raised:
            TitleSearch(catalog).resolve("history.0", None, "emma")
        assert "'Emma (1996)', 'Emma (2020)'" in raised.value.errors[0].remedy

    def test_a_misspelt_title_has_suggestions(self, client: httpx.Client, titles: list[str]) -> None:
        wrong = titles[4].replace("e", "ee", 1)
        errors = problem(client.post("/v1/recommendations", json={"history": [{"title": wrong}]}), 422)[
            "errors"
        ]
        assert titles[4] in errors[0]["remedy"]

    @pytest.mark.parametrize(
        "body", [b"{", b"\xff", b"", b"[" * 5000, b'{"k": NaN, "user_id": "u1"}', b'{"user_id": "\\ud800"}']
    )
    def test_bad_json(self, client: httpx.Client, body: bytes) -> None:
        response = client.post(
            "/v1/recommendations", content=body, headers={"content-type": "application/json"}
        )
        problem(response, response.status_code)
        assert response.status_code in (400, 422)

    def test_other_types_paths_methods_and_sizes(self, client: httpx.Client) -> None:
        problem(client.post("/v1/recommendations", content=b"user_id=u1"), 415)
        problem(client.get("/nothing"), 404)
        problem(client.get("/v1/recommendation"), 404)
        assert "POST" in client.get("/v1/recommendations").headers["allow"]
        problem(client.get("/v1/recommendations"), 405)
        problem(client.post("/", content=b""), 405)
        json = {"content-type": "application/json"}
        problem(client.post("/v1/recommendations", content=b" " * 20_001, headers=json), 413)
        problem(client.post("/v1/recommendations", content=iter([b" " * 9000] * 3), headers=json), 413)
        problem(client.get("/v1/items?limit=1000"), 422)
        problem(client.get("/v1/items?sort=1"), 422)

    def test_an_unknown_user_has_no_history(self, client: httpx.Client) -> None:
        document = problem(client.get("/v1/users/nobody/history"), 404)
        assert "no user is called 'nobody'" in document["detail"]

    def test_a_mistake_of_ours_tells_nothing(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from deeprec.serve.service import Service

        monkeypatch.setattr(Service, "run_at", lambda *_: 1 / 0)
        document = problem(client.get("/v1/runs/small/metrics"), 500)
        assert "division" not in str(document)


class TestStoreAway:
    def test_histories_that_are_sent_still_work(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        path.mkdir()  # what is there is no database
        service, _ = small_service(path, "serve.rate=0")
        with running(service) as client:
            sent = {"history": [{"item_id": "i1"}]}
            assert client.post("/v1/recommendations", json=sent).status_code == 200
            for response in (
                client.get("/readyz"),
                client.post("/v1/recommendations", json={"user_id": "u1"}),
                client.put("/v1/users/u1/history", json=sent),
                client.post("/v1/feedback", json={"user_id": "u1", "item_id": "i1", "kind": "click"}),
            ):
                assert str(tmp_path) not in str(problem(response, 503))
            assert client.get("/healthz").json() == {"status": "ok"}
            path.rmdir()  # it comes back without a restart
            assert client.get("/readyz").status_code == 200
            assert client.post("/v1/recommendations", json={"user_id": "u1"}).status_code == 200

    def test_a_locked_database_is_503_until_it_is_free(self, tmp_path: Path) -> None:
        service, _ = small_service(tmp_path / "store.db", "serve.rate=0")
        with running(service) as client:
            put = {"history": [{"item_id": "i1"}]}
            assert client.put("/v1/users/a/history", json=put).status_code == 200
            other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
            other.execute("BEGIN EXCLUSIVE")
            response = client.put("/v1/users/a/history", json=put)
            problem(response, 503)
            assert response.headers["retry-after"] == "1"
            other.execute("ROLLBACK")
            other.close()
            assert client.put("/v1/users/a/history", json=put).status_code == 200


class TestSafety:
    def test_a_key_is_asked_for_everywhere_but_at_the_door(self, tmp_path: Path) -> None:
        service, _ = small_service(tmp_path / "store.db")
        with running(service, keyring=Keyring(KEY)) as client:
            for path in ("/v1/runs", "/v1/items", "/metrics", "/v1/nothing"):
                refused = client.get(path)
                problem(refused, 401)
                assert refused.headers["www-authenticate"] == "Bearer"
            for authorization in (
                f"Bearer {KEY}x",
                f"Basic {KEY}",
                KEY,
                "Bearer é".encode("latin-1"),
            ):
                problem(client.get("/v1/runs", headers={b"authorization": authorization}), 401)  # type: ignore[dict-item]
            assert client.get("/v1/runs", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
            assert client.get("/healthz").status_code == client.get("/openapi.json").status_code == 200

    def test_too_often(self, tmp_path: Path) -> None:
        service, _ = small_service(tmp_path / "store.db", "serve.rate=0.5")
        with running(service) as client:
            statuses = [client.get("/v1/runs").status_code for _ in range(11)]
            assert statuses == [200] * 10 + [429]
            assert 1 <= int(client.get("/v1/runs").headers["retry-after"]) <= 2
            assert client.get("/healthz").status_code == 200

    def test_only_known_names_and_no_other_origin(self, client: httpx.Client) -> None:
        problem(client.get("/v1/runs", headers={"host": "evil.example"}), 400)
        assert client.get("/v1/runs", headers={"host": "LOCALHOST:1"}).status_code == 200
        answer = client.options(
            "/v1/recommendations",
            headers={"origin": "http://evil.example", "access-control-request-method": "POST"},
        )
        assert answer.status_code == 405
        assert not [name for name in answer.headers if name.startswith("access-control")]

    def test_headers_are_strict_even_on_refusals(self, client: httpx.Client) -> None:
        for response in (
            client.get("/v1/runs"),
            client.get("/nothing"),
            client.get("/", headers={"host": "x"}),
        ):
            assert response.headers["content-security-policy"].startswith("default-src 'self';")
            assert response.headers["x-content-type-options"] == "nosniff"
            assert "server" not in response.headers

    def test_logs_hold_no_user_and_no_title(
        self, client: httpx.Client, titles: list[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.INFO), caplog.at_level(logging.INFO, "deeprec"):
            client.put("/v1/users/secretive/history", json={"history": [{"title": titles[0]}]})
            client.post("/v1/recommendations", json={"user_id": "secretive"})
            client.post("/v1/recommendations", json={"history": [{"title": "Nowhere secretive"}]})
            client.get("/v1/users?query=secretive")
            client.get("/secretive")
        own = [
            record.getMessage() for record in caplog.records if record.name.startswith(("deeprec", "uvicorn"))
        ]
        assert any("PUT /v1/users/{user_id:path}/history 200" in line for line in own)
        assert not any("secretive" in line or titles[0] in line for line in own)

    def test_measures_have_routes_not_values(self, client: httpx.Client) -> None:
        client.get("/v1/items/i1")
        text = client.get("/metrics").text
        assert 'deeprec_requests_total{method="GET",route="/v1/items/{item_id:path}",status="200"}' in text
        assert "deeprec_request_seconds_bucket" in text
        assert "i1" not in text


class TestPage:
    def test_its_files_are_served(self, client: httpx.Client) -> None:
        page = client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert page.content == (FOLDER / "index.html").read_bytes()
        script = next(FOLDER.rglob("*.js"))
        sent = client.get(f"/{script.relative_to(FOLDER).as_posix()}")
        assert "javascript" in sent.headers["content-type"]
        assert client.get("/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
        problem(client.get("/..%2fapp.py"), 404)

    def test_without_it_there_is_a_clear_404(self, tmp_path: Path) -> None:
        from fastapi import FastAPI
        from fastapi.testclient import TestClient

        from deeprec.serve.page import add_page
        from deeprec.serve.problems import Problem

        app = FastAPI()
        add_page(app, tmp_path)
        with pytest.raises(Problem, match="has no page"), TestClient(app) as client:
            client.get("/")


def test_an_application_can_be_made_twice(tmp_path: Path) -> None:
    service, _ = small_service(tmp_path / "store.db")
    assert create_app(service) is not create_app(service)
    service.close()
