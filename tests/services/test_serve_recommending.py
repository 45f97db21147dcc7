"""Recommendations over HTTP by a real policy: the same as alone, never mixed, in time, whatever fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_world import (
    GatedEngine,
    events_of,
    run_folder,
    running,
    small_environment,
    small_service,
    wait_until,
)

from deeprec.disk import append_jsonl
from deeprec.errors import EngineError
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.run import Run

Answer = dict[str, Any]
K = 3


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, GatedEngine]]:
    """A service with a short queue, and the gate of its engine."""
    store = tmp_path_factory.mktemp("store") / "store.db"
    service, engine = small_service(store, "serve.queue=4", "serve.in_flight=4", "serve.rate=0")
    with running(service) as client:
        yield client, engine


@pytest.fixture
def client(served: tuple[httpx.Client, GatedEngine]) -> httpx.Client:
    return served[0]


@pytest.fixture
def engine(served: tuple[httpx.Client, GatedEngine]) -> Iterator[GatedEngine]:
    gate = served[1]
    gate.has_begun.clear()
    yield gate
    gate.is_open.set()


def ask(client: httpx.Client, **body: object) -> Answer:
    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 200, response.text
    return response.json()


def ids(answer: Answer) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def facts(answer: Answer) -> Answer:
    """All of an answer that doesn't depend on when it was asked."""
    return {key: value for key, value in answer.items() if key not in ("request_id", "seconds")}


def alone(user: str) -> tuple[list[str], list[list[str]]]:
    """Ids of the ranking and of each turn, without a service."""
    environment = small_environment()
    catalog = environment.dataset.catalog
    recommender = DeepRecRecommender("deeprec", environment, fill_in=True)
    found = recommender.recommend([environment.dataset.known_history(user)], K)[0]
    assert found.trajectory is not None
    turns = [[catalog[item].item_id for item in turn.retrieved] for turn in found.trajectory.turns]
    return [catalog[item].item_id for item in found.ranking], turns


def plain(user: str, k: int = K) -> list[str]:
    """Ids of the TRM's own ranking."""
    environment = small_environment()
    example = environment.dataset.known_history(user)
    found = environment.retriever.retrieve([example.history], k=k, exclude=[example.history])
    return [environment.dataset.catalog[int(item)].item_id for item in found.item_indices[0]]


def stream(client: httpx.Client, **body: object) -> list[tuple[str, Answer]]:
    with client.stream("POST", "/v1/recommendations/stream", json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events_of(response.iter_lines()))


def test_it_answers_as_the_recommender_does_alone(client: httpx.Client) -> None:
    users = small_environment().dataset.user_ids[:4]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda user: ask(client, user_id=user), users))
    for user, answer in zip(users, answers, strict=True):
        turns = [[item["item_id"] for item in turn["retrieved"]] for turn in answer["turns"]]
        assert (ids(answer), turns) == alone(user)
        assert answer["tokens"] > 0


def test_new_and_found_tell_where_items_came_from(tmp_path: Path) -> None:
    service, _ = small_service(tmp_path / "store.db", "rollout.list=masked")
    with running(service) as client:
        answers = [ask(client, user_id=user, k=5) for user in small_environment().dataset.user_ids[:3]]
    assert any(len(answer["turns"]) > 1 for answer in answers)
    assert any(item["found"] for answer in answers for item in answer["items"])
    for answer in answers:
        pool: set[str] = set()
        places: dict[str, dict[str, int]] = {}
        for turn in answer["turns"]:
            for place, item in enumerate(turn["retrieved"], 1):
                assert item["new"] == (item["item_id"] not in pool)
                places.setdefault(item["item_id"], {"turn": turn["number"], "place": place})
            pool |= {item["item_id"] for item in turn["retrieved"]}
        # Three items by the policy, of the pool or the TRM's plain list, and two by the TRM, credited to no turn.
        assert [item["found"] for item in answer["items"]] == [
            *(places.get(item) for item in ids(answer)[:3]), None, None,
        ]  # fmt: skip
        assert [item["filled_in"] for item in answer["items"]] == [False] * 3 + [True] * 2
        assert (answer["source"], answer["reason"]) == ("deeprec", "the list holds 3 of 5 items")


def test_streams_of_two_users_never_mix(client: httpx.Client, engine: GatedEngine) -> None:
    users = small_environment().dataset.user_ids[6:8]
    engine.batches.clear()
    engine.is_open.clear()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(stream, client, user_id=user) for user in users]
        assert engine.has_begun.wait(10)
        engine.is_open.set()
        found = [one.result(20) for one in running]
    for user, events in zip(users, found, strict=True):
        names = [name for name, _ in events]
        answer = events[-1][1]
        turns = ["thought", "preference", "retrieved"] * len(answer["turns"])
        assert names == ["start", *turns, "ranking"]
        assert facts(answer) == facts(ask(client, user_id=user))
        assert [item for name, data in events if name == "retrieved" for item in data["items"]] == [
            item for turn in answer["turns"] for item in turn["retrieved"]
        ]
        assert [data["text"] for name, data in events if name == "thought"] == [
            turn["thought"] for turn in answer["turns"]
        ]
        shown = small_environment().dataset.known_history(user).history[-K:]
        assert [item["item_id"] for item in events[0][1]["history"]] == [
            small_environment().dataset.catalog[item].item_id for item in shown
        ]
    assert found[0][-1][1]["request_id"] == found[0][0][1]["request_id"] != found[1][0][1]["request_id"]
    assert max(map(len, engine.batches)) == 2


def test_a_known_user_and_the_same_history_get_the_same(client: httpx.Client) -> None:
    user = small_environment().dataset.user_ids[0]
    history = client.get(f"/v1/users/{user}/history").json()["history"]
    titles = [{"title": item["title"].upper()} for item in history]
    assert ids(ask(client, history=titles)) == ids(ask(client, user_id=user))


def test_the_trm_alone(client: httpx.Client, engine: GatedEngine) -> None:
    engine.is_open.clear()  # it never waits for the policy
    answer = ask(client, user_id="u1", mode="trm", k=5)
    assert ids(answer) == plain("u1", 5)
    assert (answer["source"], answer["reason"], answer["turns"], answer["tokens"]) == ("trm", None, [], 0)
    assert [name for name, _ in stream(client, user_id="u1", mode="trm")] == ["start", "ranking"]


def test_turns_can_be_capped(client: httpx.Client) -> None:
    user = next(one for one in small_environment().dataset.user_ids if len(alone(one)[1]) > 1)
    answer = ask(client, user_id=user, max_turns=1)
    assert (answer["stop_reason"], answer["source"], len(answer["turns"])) == ("retrieval_limit", "trm", 1)
    assert answer["reason"].startswith("retrieval_limit")


def test_after_the_deadline_the_trm_answers(client: httpx.Client, engine: GatedEngine) -> None:
    engine.is_open.clear()
    answer = ask(client, user_id="u1", deadline_ms=100)
    assert (answer["source"], ids(answer), answer["stop_reason"]) == ("trm", plain("u1"), None)
    assert answer["reason"].startswith("deadline: ")
    assert 0.1 <= answer["seconds"] < 2
    engine.is_open.set()
    assert ask(client, user_id="u1")["stop_reason"] == "finished"  # and nothing of it is left


def test_a_deadline_holds_in_the_queue_too(client: httpx.Client, engine: GatedEngine) -> None:
    engine.is_open.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, client, user_id="u1")
        assert engine.has_begun.wait(10)
        waiting = ask(client, user_id="u2", deadline_ms=50)
        assert (waiting["source"], ids(waiting), waiting["turns"]) == ("trm", plain("u2"), [])
        engine.is_open.set()
        assert first.result(20)["stop_reason"] == "finished"


def test_a_full_queue_refuses_and_says_when(client: httpx.Client, engine: GatedEngine) -> None:
    engine.is_open.clear()
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(ask, client, user_id="u1")
        assert engine.has_begun.wait(10)
        waiting = [pool.submit(ask, client, user_id=user) for user in ("u2", "u3", "u5", "u6")]
        wait_until(lambda: 'queue_depth{run="small"} 4.0' in client.get("/metrics").text)
        for path in ("/v1/recommendations", "/v1/recommendations/stream"):
            refused = client.post(path, json={"user_id": "u4"})
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert refused.headers["content-type"] == "application/problem+json"
        assert ask(client, user_id="u4", mode="trm")["source"] == "trm"
        engine.is_open.set()
        assert all(one.result(20)["stop_reason"] == "finished" for one in (first, *waiting))


@pytest.mark.parametrize(
    ("failure", "told"),
    [(EngineError("out of memory; lower it"), "out of memory; lower it"), (KeyError("/secret/path"), "log")],
)
def test_an_engine_that_fails_is_no_reason_to_end(
    client: httpx.Client, engine: GatedEngine, failure: Exception, told: str
) -> None:
    engine.failure = failure
    answer = ask(client, user_id="u1")
    assert (answer["source"], ids(answer)) == ("trm", plain("u1"))
    assert answer["reason"].startswith("engine: ")
    assert told in answer["reason"]
    assert "secret" not in answer["reason"]
    assert ask(client, user_id="u1")["stop_reason"] == "finished"
    assert 'answers_total{reason="engine",run="small",source="trm"}' in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/v1/recommendations", "/v1/recommendations/stream"])
def test_who_goes_away_is_not_worked_for(client: httpx.Client, engine: GatedEngine, path: str) -> None:
    engine.is_open.clear()
    gone = threading.Event()

    def hang_up() -> None:
        with (
            httpx.Client(base_url=client.base_url, timeout=0.5) as own,
            pytest.raises(httpx.ReadTimeout),
            own.stream("POST", path, json={"user_id": "u1"}) as response,
        ):
            list(response.iter_lines())
        gone.set()

    thread = threading.Thread(target=hang_up)
    thread.start()
    assert engine.has_begun.wait(10)
    assert gone.wait(10)
    thread.join()
    engine.batches.clear()
    wait_until(
        lambda: "trm" in str(ask(client, user_id="u1", mode="trm"))
    )  # a round trip behind the hanging up
    engine.is_open.set()
    wait_until(lambda: 'in_flight{run="small"} 0.0' in client.get("/metrics").text)
    assert engine.batches == []  # its second turn was never written


def test_several_sampled_trajectories_are_merged(tmp_path: Path) -> None:
    service, engine = small_service(tmp_path / "store.db", "inference.rollouts=3", "serve.rate=0")
    with running(service) as client:
        answer = ask(client, user_id="u1")
    assert len(answer["items"]) == K
    assert len(engine.batches[0]) == 3


def test_two_runs_side_by_side(tmp_path: Path) -> None:
    service, _ = small_service(tmp_path / "store.db", "serve.rate=0", names=("one", "two"))
    with running(service) as client:
        runs = client.get("/v1/runs").json()["runs"]
        assert [(run["name"], run["default"]) for run in runs] == [("one", True), ("two", False)]
        assert ask(client, user_id="u1", run="two")["run"] == "two"
        assert ask(client, user_id="u1")["run"] == "one"
        wrong = client.post("/v1/recommendations", json={"user_id": "u1", "run": "three"})
        assert wrong.json()["errors"][0]["field"] == "run"
        assert "'one', 'two'" in wrong.json()["detail"]
        assert client.get("/v1/runs/three/metrics").status_code == 404


def test_what_training_left_can_be_looked_at(tmp_path: Path) -> None:
    service, _ = small_service(tmp_path / "store.db", "serve.rate=0")
    run = Run(tmp_path, Run.open(run_folder()).config)
    record = {
        "stage": "cold_start", "step": 1, "user_id": "u1", "target": 2, "prompt": "p", "response": "r",
        "turns": [{"thought": "t", "preference": "x", "retrieved": [1, 2]}], "ranking": [2],
        "stop_reason": "finished", "format_errors": [], "reward": 1.5, "parts": {"hit": 1.0},
    }  # fmt: skip
    for number in range(3):
        change = {
            "reward": number - 1.0,
            "user_id": f"u{number}",
            "step": number,
            "turns": record["turns"] * number,
        }
        append_jsonl(run.trajectories, record | change)
        append_jsonl(
            run.metrics, {"stage": "cold_start", "step": number, "reward": number / 2, "loss": float("nan")}
        )
    from deeprec.serve.records import Records

    service.default.records = Records(run, service.default.dataset.catalog)
    with running(service) as client:
        place = "/v1/runs/small/trajectories"
        everything = client.get(place).json()
        assert everything["total"] == 3
        assert (
            everything["trajectories"][0]["target"]["item_id"] == service.default.dataset.catalog[2].item_id
        )
        for query, numbers in (
            ("min_reward=0", [1, 2]), ("max_reward=0", [0, 1]), ("turns=2", [2]), ("step=1", [1]),
            ("stage=other", []), ("stop_reason=finished&offset=1&limit=1", [1]),
        ):  # fmt: skip
            found = client.get(f"{place}?{query}").json()["trajectories"]
            assert [one["number"] for one in found] == numbers, query
        assert client.get("/v1/runs/small/metrics?stage=cold_start").json() == {
            "stage": "cold_start",
            "stages": ["cold_start"],
            "series": {"reward": [[0, 0], [1, 0.5], [2, 1]]},
        }
        assert client.delete("/v1/users/u1").status_code == 204
        assert [one["user_id"] for one in client.get(place).json()["trajectories"]] == ["u0", "u2"]
