"""The soak itself: a real service, its clients, troubles at regular times, and what was noticed."""

from __future__ import annotations

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from math import inf
from pathlib import Path
from time import monotonic, sleep

from deeprec.bench.serve import Measured, service_of
from deeprec.bench.soak.clients import Outcome, clients
from deeprec.bench.soak.figures import (
    Check,
    Feedback,
    Minute,
    OfKind,
    Sample,
    by_kind,
    checks,
    minute,
    sample,
)
from deeprec.bench.soak.kinds import World
from deeprec.bench.soak.troubles import Database, DatabaseName, Window, own_database, strike
from deeprec.serve.keyring import add_key
from deeprec.serve.keys import SCOPES
from deeprec.store import open_store

_EVERY = 1.0  # seconds from one look at the process to the next
_WARM_UP = 5.0  # seconds of requests that aren't counted: the first ones fill caches


@dataclass(frozen=True)
class Plan:
    """How long, by how many, and what happens meanwhile."""

    minutes: float
    clients: int
    pause: float  # seconds, about, from an answer to the client's next request
    trouble_every: float  # minutes
    trouble_seconds: float
    database: DatabaseName = "auto"
    disk_mib: int = 0
    seed: int = 0
    options: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """What a soak found."""

    database: str
    kinds: list[OfKind]
    checks: list[Check]


@dataclass
class _Course:
    """What was noticed so far; clients add to it from threads of their own."""

    outcomes: list[Outcome] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)


def soak(run: Path, world: World, plan: Plan, tell: Callable[[Minute], None]) -> Report:
    """Have a service of `run` answer for so long; `tell` hears the figures of each minute when it is over.

    Raises EngineError where the service or a database doesn't start, or doesn't come back.
    """
    with tempfile.TemporaryDirectory(prefix="deeprec-soak-") as name:
        folder = Path(name)
        keys = [add_key(folder / "keys.toml", f"client-{number}", SCOPES) for number in range(plan.clients)]
        with (
            own_database(plan.database, plan.disk_mib) as database,
            (folder / "log").open("w", encoding="utf-8") as log,
        ):
            arguments = ("--keys", str(folder / "keys.toml"))
            with service_of(run, plan.options, store=database.url, arguments=arguments, log=log) as service:
                warming = _Course()
                with clients(
                    service.address, keys, world, plan.pause, plan.seed - 1, warming.outcomes.append
                ):
                    sleep(_WARM_UP)
                course = _run(service, database, keys, world, plan, tell)
            feedback = _kept(database.url, [*warming.outcomes, *course.outcomes])
        tracebacks = (folder / "log").read_text(encoding="utf-8").count("Traceback")
    found = checks(course.outcomes, course.samples, course.windows, feedback, tracebacks)
    return Report(database.name, by_kind(course.outcomes, course.windows), found)


def _run(
    service: Measured,
    database: Database,
    keys: Sequence[str],
    world: World,
    plan: Plan,
    tell: Callable[[Minute], None],
) -> _Course:
    """Troubles, looks at the process, and minutes, each when it is due."""
    course, over = _Course(), threading.Event()
    began = monotonic()
    until = began + 60 * plan.minutes
    with ThreadPoolExecutor(1) as hand, clients(
        service.address, keys, world, plan.pause, plan.seed, course.outcomes.append
    ):  # fmt: skip
        struck = hand.submit(_strike_often, database, plan, began, until, over, course.windows)
        try:
            _watch(service, course, began, until, tell, struck)
        finally:
            over.set()
        struck.result()
    return course


def _watch(
    service: Measured,
    course: _Course,
    began: float,
    until: float,
    tell: Callable[[Minute], None],
    struck: Future[None],
) -> None:
    number, done = 1, began
    while (now := monotonic()) < until:
        sleep(min(_EVERY, until - now))
        now = monotonic()
        found = sample(service.pid, now)
        if found is not None:
            course.samples.append(found)
        if struck.done():
            struck.result()  # what went wrong there is told at once
        if now >= min(began + 60 * number, until):
            tell(_of(course, number, done, now))
            number, done = number + 1, now


def _of(course: _Course, number: int, since: float, now: float) -> Minute:
    outcomes = [outcome for outcome in list(course.outcomes) if since <= outcome.ended < now]
    samples = [found for found in course.samples if since <= found.at <= now]
    windows = [window for window in list(course.windows) if window.meets(since, now)]
    return minute(number, outcomes, samples, windows)


def _strike_often(
    database: Database,
    plan: Plan,
    began: float,
    until: float,
    over: threading.Event,
    windows: list[Window],
) -> None:
    """One trouble after the other, in the middle of each stretch of time; each is noted as soon as it begins."""
    due = began + 30 * plan.trouble_every
    for trouble in cycle(database.troubles):
        if due + plan.trouble_seconds > until or over.wait(max(0.0, due - monotonic())):
            return
        windows.append(Window(trouble.name, monotonic(), inf))
        windows[-1] = strike(database, trouble, plan.trouble_seconds, over)
        due += 60 * plan.trouble_every


def _kept(url: str, outcomes: Sequence[Outcome]) -> Feedback:
    acknowledged = {outcome.feedback for outcome in outcomes if outcome.feedback is not None}
    with open_store(url, create=False) as store:
        counts = Counter(entry.key for entry in store.feedback() if entry.key is not None)
    return Feedback(len(acknowledged), len(acknowledged & counts.keys()), sum(n > 1 for n in counts.values()))
