"""One request of forty goes wrong, at each step on its way: the other thirty-nine get what they get alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_world import GatedEngine, run_folder, running, small_environment, wait_until

from deeprec.config import override_config
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.episode import Episode
from deeprec.rollout.list_makers import RetrievedLists
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.run import Run
from deeprec.serve.measures import Measures
from deeprec.serve.served import ServedRun
from deeprec.serve.service import Service
from deeprec.serve.users import StoreDoor
from deeprec.store.sql import SqlStore

Answer = dict[str, Any]
POISON = "u20"
K = 5
LISTS = RetrievedLists(10)  # the step that fills lists takes part


@cache
def alone() -> dict[str, list[str]]:
    """Each user's ranking without a service."""
    environment = small_environment().with_lists(LISTS)
    dataset = environment.dataset
    recommender = DeepRecRecommender("deeprec", environment, fill_in=True)
    examples = [dataset.known_history(user) for user in dataset.user_ids]
    return {
        example.user_id: [dataset.catalog[item].item_id for item in found.ranking]
        for example, found in zip(examples, recommender.recommend(examples, K), strict=True)
    }


class Wrapped:
    """A part of which one method is another."""

    def __init__(self, part: object, method: str, changed: Callable[..., object]) -> None:
        self._part, self._method, self._changed = part, method, changed

    def __getattr__(self, name: str) -> object:
        found = getattr(self._part, name)
        return (
            (lambda *given, **named: self._changed(found, *given, **named)) if name == self._method else found
        )


def is_poison(history: Sequence[int]) -> bool:
    return tuple(history) == small_environment().dataset.known_history(POISON).history


def refuse_history(retrieve: Any, histories: Any, *given: Any, **named: Any) -> Any:
    if any(map(is_poison, histories)):
        raise ValueError("year 33658 is out of range")
    return retrieve(histories, *given, **named)


def impossible_items(retrieve: Any, histories: Any, *given: Any, **named: Any) -> Any:
    found = retrieve(histories, *given, **named)
    for row, history in enumerate(histories):
        if is_poison(history):
            found.item_indices[row] = 10**6
    return found


class Sick:
    """An engine that refuses, or answers wrongly, whoever's prompt begins as the poisoned one's."""

    def __init__(self, engine: Any, token: int | None) -> None:
        self._engine, self._token = engine, token
        environment = small_environment()
        example = environment.dataset.known_history(POISON)
        episode = Episode(
            0,
            example,
            environment.dataset.catalog,
            environment.codec,
            environment.config,
            engine.context_length,
        )
        self._prompt = episode.context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        sick = [request.context[: len(self._prompt)] == self._prompt for request in requests]
        if self._token is None and any(sick):
            raise IndexError("index out of range in self")
        found = self._engine.generate(requests, sampling)
        wrong = Segment((self._token or 0,), (0.0,), stopped=True)
        return [wrong if bad else one for bad, one in zip(sick, found, strict=True)]


def poisoned_store(patch: pytest.MonkeyPatch, _: dict[str, Any]) -> None:
    known = SqlStore.known

    def refuse(self: SqlStore, user_ids: Sequence[str]) -> Any:
        if POISON in user_ids:
            raise ValueError("a row that can't be read")
        return known(self, user_ids)

    patch.setattr(SqlStore, "known", refuse)


def poisoned_prompt(patch: pytest.MonkeyPatch, _: dict[str, Any]) -> None:
    from deeprec.rollout import episode

    render = episode.render_prompt

    def refuse(example: Any, *given: Any) -> str:
        if example.user_id == POISON:
            raise ValueError("this history can't be shown")
        return render(example, *given)

    patch.setattr(episode, "render_prompt", refuse)


def poisoned_end(patch: pytest.MonkeyPatch, _: dict[str, Any]) -> None:
    finish = Episode.finish

    def refuse(self: Episode) -> Any:
        if self.example.user_id == POISON:
            raise KeyError("this trajectory can't be read")
        return finish(self)

    patch.setattr(Episode, "finish", refuse)


def poisoned_lists(patch: pytest.MonkeyPatch, parts: dict[str, Any]) -> None:
    write = RetrievedLists.lists

    def refuse(self: RetrievedLists, episodes: Sequence[Episode], *, greedy: bool) -> None:
        if any(episode.example.user_id == POISON for episode in episodes):
            raise RuntimeError("this pool can't be ranked")
        write(self, episodes, greedy=greedy)

    patch.setattr(RetrievedLists, "lists", refuse)


def poisoned_watch(patch: pytest.MonkeyPatch, _: dict[str, Any]) -> None:
    from deeprec.serve.worker import Worker

    heard = Worker._heard

    def refuse(self: Worker, episode: Episode) -> None:
        if episode.example.user_id == POISON:
            raise RuntimeError("nobody listens")
        heard(self, episode)

    patch.setattr(Worker, "_heard", refuse)


def poisoned(part: str, made: Callable[[Any], Any]) -> Callable[[pytest.MonkeyPatch, dict[str, Any]], None]:
    def change(_: pytest.MonkeyPatch, parts: dict[str, Any]) -> None:
        parts[part] = made(parts[part])

    return change


STEPS = {
    "store": poisoned_store,
    "prompt": poisoned_prompt,
    "engine": poisoned("engine", lambda engine: Sick(engine, None)),
    "tokens": poisoned("engine", lambda engine: Sick(engine, -1)),
    "retrieval": poisoned("retriever", lambda found: Wrapped(found, "retrieve", refuse_history)),
    "items": poisoned("retriever", lambda found: Wrapped(found, "retrieve", impossible_items)),
    "lists": poisoned_lists,
    "watch": poisoned_watch,
    "end": poisoned_end,
}  # fmt: skip


@contextmanager
def service(store: Path, parts: dict[str, Any]) -> Iterator[tuple[httpx.Client, GatedEngine]]:
    """A service of the small run with some of its parts changed."""
    overrides = ["serve.in_flight=41", "serve.queue=64", "serve.rate=0", "rollout.list=retrieved"]
    opened = Run.open(run_folder())
    run = Run(opened.folder, override_config(opened.config, overrides))
    gate = GatedEngine(parts["engine"])
    environment = replace(
        small_environment(), engine=gate, retriever=parts["retriever"], config=run.config.rollout, lists=LISTS
    )
    door, measures = StoreDoor(f"sqlite:///{store}"), Measures()
    made = Service((ServedRun("small", run, environment, "warm_start", door, measures),), door, measures)
    with running(made) as client:
        yield client, gate


def ask(client: httpx.Client, user: str) -> httpx.Response:
    return client.post("/v1/recommendations", json={"user_id": user, "k": K})


@pytest.mark.parametrize("step", STEPS)
def test_one_poisoned_request_of_forty(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rankings, users = alone(), small_environment().dataset.user_ids
    assert len(users) == 40
    parts = {"engine": small_environment().engine, "retriever": small_environment().retriever}
    STEPS[step](monkeypatch, parts)
    with service(tmp_path / "store.db", parts) as (client, gate), ThreadPoolExecutor(41) as pool:
        gate.is_open.clear()
        decoy = pool.submit(ask, client, users[0])
        assert gate.has_begun.wait(10)
        asked = {user: pool.submit(ask, client, user) for user in users}
        waiting = 39.0 if step == "store" else 40.0
        wait_until(lambda: f'queue_depth{{run="small"}} {waiting}' in client.get("/metrics").text)
        gate.is_open.set()
        found = {user: one.result(60) for user, one in asked.items()}
        assert decoy.result(20).status_code == 200
        assert max(map(len, gate.batches)) >= 39  # they were written together
        gate.batches.clear()
        assert ask(client, users[1]).json()["stop_reason"] is not None  # and all goes on
    sick = found.pop(POISON)
    for user, response in found.items():
        answer: Answer = response.json()
        assert [item["item_id"] for item in answer["items"]] == rankings[user], (user, answer["reason"])
        assert answer["stop_reason"] is not None
    told = sick.json()
    if step in ("store", "retrieval", "items"):  # nobody else can answer: not even the TRM
        assert sick.status_code == 500
    else:
        assert told["source"] == "trm"
        assert told["reason"].startswith("engine: ")
