"""The engine for OpenAI-compatible servers, against small servers that behave as some do: see also tests/services."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from small_world import build_codec, explore

from deeprec.errors import EngineError
from deeprec.rollout.engines import openai
from deeprec.rollout.engines.base import Request, Sampling
from deeprec.rollout.engines.openai import OpenAIEngine, closed
from deeprec.rollout.tags import TAGS

CODEC = build_codec()
STOPS = (TAGS.end_preference, TAGS.end_list)
SAMPLING = Sampling(0.0, 1.0, 20, frozenset([*(CODEC.tag_ids[tag] or 0 for tag in STOPS), CODEC.eos_id]))
Reply = Callable[[dict[str, Any]], tuple[int, object]]


@contextmanager
def engine(reply: Reply, **options: Any) -> Iterator[tuple[OpenAIEngine, list[dict[str, Any]]]]:
    """An engine on a server that replies so, and the bodies that it was sent."""
    bodies: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            bodies.append(body | {"authorization": self.headers["authorization"], "path": self.path})
            status, told = reply(body)
            content = told if isinstance(told, bytes) else json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        with OpenAIEngine(address, "policy", CODEC, context_length=100, **options) as found:
            yield found, bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "_PAUSE", 0.0)


def request(key: int = 1) -> Request:
    return Request(key, tuple(CODEC.encode("History\n- Alien\n")), 10)


def completion(text: str, finish: str = "stop", **more: object) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish, **more}]}


def test_a_server_that_speaks_ids_is_taken_at_its_word() -> None:
    ids = CODEC.encode(explore())
    written = completion("", token_ids=ids, logprobs={"token_logprobs": [-0.5] * len(ids)})
    with engine(lambda _: (200, written), api_key="secret") as (found, bodies):
        segment = found.generate([request()], SAMPLING)[0]
    assert segment == type(segment)(tuple(ids), (-0.5,) * len(ids), True)
    assert bodies[0]["prompt"] == list(request().context)
    assert (bodies[0]["authorization"], bodies[0]["path"]) == ("Bearer secret", "/v1/completions")
    assert (bodies[0]["max_tokens"], bodies[0]["temperature"], bodies[0]["skip_special_tokens"]) == (
        10,
        0.0,
        False,
    )


def test_a_plain_server_gets_text_and_its_text_is_tokenized() -> None:
    def reply(body: dict[str, Any]) -> tuple[int, object]:
        if not isinstance(body["prompt"], str):
            return 400, {"detail": "prompt must be a string"}
        return (
            (422, {})
            if "return_token_ids" in body
            else (200, completion(explore()[: -len(TAGS.end_preference)]))
        )

    with engine(reply) as (found, bodies):
        segments = found.generate([request(key) for key in range(3)], SAMPLING)
    assert {CODEC.decode(segment.token_ids) for segment in segments} == {explore()}
    assert all(segment.stopped and all(map(math.isnan, segment.logprobs)) for segment in segments)
    assert len(bodies) == 4 + 2  # what it speaks is found out once
    assert bodies[-1]["stop"] == sorted(STOPS, key=lambda tag: CODEC.tag_ids[tag] or 0)
    assert bodies[-1]["prompt"] == "History\n- Alien\n"


def test_the_end_of_a_text_is_its_own_token() -> None:
    with engine(lambda _: (200, completion("No idea."))) as (found, _):
        assert found.generate([request()], SAMPLING)[0].token_ids[-1] == CODEC.eos_id
    with engine(lambda _: (200, completion("No idea", "length"))) as (found, _):
        segment = found.generate([request()], SAMPLING)[0]
        assert (segment.stopped, CODEC.decode(segment.token_ids)) == (False, "No idea")


def test_what_passes_is_tried_again() -> None:
    statuses = iter([503, 429, 200])
    with engine(lambda _: (next(statuses), completion(explore()))) as (found, bodies):
        assert found.generate([request()], SAMPLING)[0].stopped
    assert len(bodies) == 3


@pytest.mark.parametrize(
    ("status", "reply", "told"),
    [
        (500, {"error": "boom"}, r"no reply in 4 tries \(status 500: .*boom"),
        (404, {"detail": "no such model"}, "status 404 .*no such model.*--model"),
        (400, {"detail": "no"}, "status 400"),
        (200, b"<html>", "no JSON object"),
        (200, {"object": "list"}, "no completion"),
        (200, {**completion("Maybe Drama"), "usage": {"completion_tokens": 99}}, "leaves special tokens out"),
    ],
)
def test_a_server_of_no_use_is_named(status: int, reply: object, told: str) -> None:
    with (
        engine(lambda _: (status, reply)) as (found, _),
        pytest.raises(EngineError, match=rf"(?s)127\.0\.0\.1.*{told}"),
    ):
        found.generate([request()], SAMPLING)


def test_nobody_there_and_no_url() -> None:
    with (
        OpenAIEngine("http://127.0.0.1:9", "m", CODEC, context_length=9) as found,
        pytest.raises(EngineError, match="check that the server runs"),
    ):
        found.generate([Request(1, (1,), 5)], SAMPLING)
    for address in ("http://[", "127.0.0.1:8001", "http://", "http://h:port"):
        with pytest.raises(EngineError, match="not a URL"):
            OpenAIEngine(address, "m", CODEC, context_length=9)


def test_training_is_refused() -> None:
    with (
        OpenAIEngine("http://127.0.0.1:9", "m", CODEC, context_length=9) as found,
        pytest.raises(EngineError, match="can't be trained"),
    ):
        found.reseed(3)


@pytest.mark.parametrize(
    ("text", "stops", "reason", "added"),
    [
        (f"Hm.{TAGS.begin_preference}Drama", STOPS, None, TAGS.end_preference),
        (f"Hm.{TAGS.end_think}\n{TAGS.begin_list}\n1. Heat\n", STOPS, None, TAGS.end_list),
        (f"Hm.{TAGS.end_think}\n", (TAGS.end_preference, TAGS.begin_list), None, TAGS.begin_list),
        ("Hm.", STOPS, TAGS.end_preference, TAGS.end_preference),
        ("Hm.", STOPS, None, ""),
        (explore(), STOPS, None, ""),
        (f"Hm.{TAGS.end_think}", STOPS, None, ""),
    ],
)
def test_what_a_server_cuts_off_is_put_back(
    text: str, stops: tuple[str, ...], reason: str | None, added: str
) -> None:
    assert closed(text, stops, reason) == text + added
