"""A run up to the warm start, small enough for tests of the service, and services made of it."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from deeprec.config import load_config, override_config
from deeprec.data.stage import run_data
from deeprec.pipeline import load_stages
from deeprec.policy.environment import build_environment
from deeprec.policy.loading import load_policy
from deeprec.rollout.engines.base import Engine, Request, Sampling, Segment
from deeprec.rollout.environment import Environment
from deeprec.run import Run
from deeprec.serve.app import create_app
from deeprec.serve.measures import Measures
from deeprec.serve.served import ServedRun
from deeprec.serve.server import address_of, build_server, listen
from deeprec.serve.service import Service
from deeprec.serve.users import StoreDoor
from deeprec.trm.stage import run_trm

SETTINGS = (
    "data.synthetic.users=40",
    "data.synthetic.items=24",
    "data.synthetic.genres=4",
    "data.synthetic.interactions_per_user=10",
    "trm.width=16",
    "trm.text_dim=16",
    "trm.epochs=2",
    "trm.preference_steps=50",
    "policy.width=32",
    "policy.heads=2",
    "policy.key_value_heads=1",
    "policy.inner=64",
    "policy.pieces=300",
    "policy.context=512",
    "warm_start.text_epochs=0",
    "warm_start.script_steps=120",
    "warm_start.trajectories_per_step=8",
    "warm_start.learning_rate=2e-2",
    "rollout.history=3",
    "rollout.retrieved=3",
    "rollout.recommended=3",
    "rollout.max_retrievals=4",
    "rollout.segment_tokens=40",
    "rollout.response_tokens=240",
)


@cache
def run_folder() -> Path:
    """The run; tests only read it."""
    from deeprec.rl.warm_start import run_warm_start

    folder = Path(tempfile.mkdtemp(prefix="deeprec-serve-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    run = Run.create(folder / "small", load_config(overrides=SETTINGS))
    dataset = run_data(run)
    run_warm_start(run, dataset, run_trm(run, dataset))
    return run.folder


class GatedEngine:
    """The run's own engine behind a door that a test opens, shuts, or has fall on whoever passes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.is_open = threading.Event()
        self.is_open.set()
        self.has_begun = threading.Event()
        self.failure: Exception | None = None
        self.batches: list[tuple[int, ...]] = []  # keys of each call

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        self.batches.append(tuple(request.key for request in requests))
        self.has_begun.set()
        assert self.is_open.wait(20)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return self._engine.generate(requests, sampling)

    def reseed(self, seed: int) -> None:
        self._engine.reseed(seed)

    def forget(self) -> None:
        self._engine.forget()


@cache
def small_environment(lists: str = "free") -> Environment:
    """What episodes of the run's policy run in; `lists` is `rollout.list`."""
    run = Run.open(run_folder())
    dataset, trm = load_stages(run)
    policy = load_policy(str(run.last_policy()), run.config.policy)
    protocol = run.config.rollout.model_copy(update={"list": lists})
    return build_environment(run, dataset, trm, policy, rollout=protocol)


def small_service(
    store: Path, *overrides: str, names: Sequence[str] = ("small",)
) -> tuple[Service, GatedEngine]:
    """A service of the run under each of `names`, all on one gated engine."""
    opened = Run.open(run_folder())
    run = Run(opened.folder, override_config(opened.config, overrides))
    environment = small_environment(run.config.rollout.list)
    engine = GatedEngine(environment.engine)
    door, measures = StoreDoor(f"sqlite:///{store}"), Measures()
    gated = replace(environment, engine=engine, config=run.config.rollout)
    served = [ServedRun(name, run, gated, "warm_start", door, measures) for name in names]
    return Service(tuple(served), door, measures), engine


@contextmanager
def running(service: Service, **options: Any) -> Iterator[httpx.Client]:
    """A client of the service, which is a real server on a port of its own."""
    bound = listen("127.0.0.1", 0)
    server = build_server(create_app(service, **options), service.caps)
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        with httpx.Client(base_url=address_of(bound), timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()


def events_of(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and data of each server-sent event."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Return once it holds; fail where it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)
