"""The thread that owns a policy: episodes of many requests are written together, turn by turn."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from deeprec.config import InferenceConfig
from deeprec.errors import EngineError
from deeprec.rollout.environment import Environment
from deeprec.rollout.episode import Episode
from deeprec.rollout.loop import EpisodeLoop
from deeprec.serve.fairness import FairQueue, QueueFullError
from deeprec.types import Example, Trajectory, Turn

log = logging.getLogger("deeprec.serve")


class Gauges(Protocol):
    """Hears how busy a worker is."""

    def load(self, waiting: int, in_flight: int) -> None:
        """Requests that wait, and trajectories in flight, after a change."""

    def batch(self, size: int) -> None:
        """A turn of so many trajectories begins."""


@dataclass(eq=False)
class Task:
    """One request's trajectories.

    `on_turn` hears each turn of the first trajectory with its number, in the worker's
    thread. `turns` may be read at any time: the turns so far.
    """

    example: Example
    client: str = ""
    max_turns: int | None = None
    on_turn: Callable[[int, Turn], None] | None = None
    result: Future[list[Trajectory]] = field(default_factory=Future)
    turns: tuple[Turn, ...] = ()
    is_cancelled: bool = False
    episodes: dict[int, Trajectory | None] = field(default_factory=dict)  # by key, in order


class Worker:
    """Owns an engine and its loop. `submit` and `cancel` may be called by any thread.

    What goes wrong fails the request that it goes wrong for, with the error as its result's
    exception: where a turn of all together fails, each takes it alone. A request is one
    trajectory or, with `inference.rollouts`, several; at most `in_flight` are written
    together, and `queue` requests wait, in turn by client.
    """

    def __init__(
        self,
        environment: Environment,
        inference: InferenceConfig,
        *,
        in_flight: int,
        queue: int,
        gauges: Gauges,
    ) -> None:
        self._environment, self._inference = environment, inference
        self._in_flight = max(in_flight, inference.rollouts)
        self._gauges = gauges
        self._loop = EpisodeLoop(environment, greedy=inference.rollouts == 1, watch=self._heard)
        self._waiting: FairQueue[Task] = FairQueue(queue)
        self._tasks: dict[int, Task] = {}  # in flight, by the key of each of their episodes
        self._keys = count(1)
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="deeprec-policy", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, task: Task) -> None:
        """Have a request wait for its turn. Raises QueueFullError where too many do."""
        with self._changed:
            if self._is_closing:
                raise EngineError("the service is being stopped")
            displaced = self._waiting.put(task)
            self._changed.notify()
            self._gauges.load(len(self._waiting), len(self._loop))
        if displaced is not None:
            _settle(displaced, QueueFullError("others wait, too, and most requests were yours"))

    def cancel(self, task: Task) -> None:
        """Let a request go; what is in flight of it leaves before the next turn."""
        with self._changed:
            task.is_cancelled = True
            self._waiting.discard(task)
            self._gauges.load(len(self._waiting), len(self._loop))

    def close(self) -> None:
        """Stop after the present turn; requests that are left fail."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        error = EngineError("the service is being stopped")
        while self._admit():
            self._gauges.batch(len(self._loop))
            for episode in self._step():
                self._finish(episode)
            if not len(self._loop):
                self._environment.forget()  # its memory is for others now
        for task in self._in_hand():
            self._fail(task, error)
        with self._changed:
            waiting = self._waiting.empty()
        for task in waiting:
            _settle(task, error)

    def _admit(self) -> bool:
        """Wait until there is something to write; False when the worker closes."""
        while True:
            self._drop_cancelled()
            with self._changed:
                self._gauges.load(len(self._waiting), len(self._loop))
                while not self._is_closing and not len(self._waiting) and not len(self._loop):
                    self._changed.wait()
                if self._is_closing:
                    return False
                joining: list[Task] = []
                room = self._in_flight - len(self._loop)
                while len(self._waiting) and (len(joining) + 1) * self._inference.rollouts <= room:
                    joining.append(self._waiting.take())
            for task in joining:
                self._join(task)
            if len(self._loop):
                self._gauges.load(len(self._waiting), len(self._loop))
                return True

    def _join(self, task: Task) -> None:
        environment = self._environment
        config = environment.config
        if task.max_turns is not None:
            config = config.model_copy(update={"max_retrievals": min(task.max_turns, config.max_retrievals)})
        try:
            for _ in range(self._inference.rollouts):
                key = next(self._keys)
                episode = Episode(
                    key,
                    task.example,
                    environment.dataset.catalog,
                    environment.codec,
                    config,
                    environment.engine.context_length,
                )
                self._loop.add(episode)
                task.episodes[key] = None
                self._tasks[key] = task
        except Exception as error:  # such as a prompt that is longer than the context
            log.warning("a request can't be begun: %s", type(error).__name__)  # its text names the user
            self._leave(task)
            _settle(task, error)

    def _step(self) -> list[Episode]:
        """A turn of everybody; where it fails, each one's own, so that nobody fails for another."""
        together = len(self._loop)
        try:
            return self._loop.step()
        # Whatever an engine raises: the service outlives it, and the operator reads it.
        except Exception as failure:
            log.exception("a turn failed with %d trajectories in flight", together)
            self._environment.forget()  # it may have been interrupted half-way
            if together == 1:
                self._fail(next(iter(self._tasks.values())), failure)
        return [episode for key in list(self._tasks) for episode in self._step_alone(key)]

    def _step_alone(self, key: int) -> list[Episode]:
        self._drop_cancelled()  # of many, the last ones may be past their deadline before it is their turn
        if key not in self._tasks:
            return []
        try:
            return self._loop.step(key)
        except Exception as failure:
            log.warning("a trajectory failed alone: %s", type(failure).__name__)
            self._environment.forget()
            self._fail(self._tasks[key], failure)
            return []

    def _heard(self, episode: Episode) -> None:
        task = self._tasks[episode.key]
        if episode.key != next(iter(task.episodes)) or len(episode.turns) == len(task.turns):
            return
        before, task.turns = len(task.turns), episode.turns
        for number, turn in enumerate(episode.turns[before:], before + 1):
            if task.on_turn is not None and not task.is_cancelled:
                task.on_turn(number, turn)

    def _finish(self, episode: Episode) -> None:
        if episode.key not in self._tasks:  # another trajectory of its request failed in the same turn
            return
        task = self._tasks[episode.key]
        try:
            task.episodes[episode.key] = episode.finish()
        except Exception as failure:
            log.exception("a trajectory can't be read")
            self._fail(task, failure)
            return
        del self._tasks[episode.key]
        found: Sequence[Trajectory] = [one for one in task.episodes.values() if one is not None]
        if len(found) == len(task.episodes):
            _settle(task, list(found))

    def _drop_cancelled(self) -> None:
        for task in self._in_hand():
            if task.is_cancelled:
                self._leave(task)
                task.result.cancel()

    def _in_hand(self) -> list[Task]:
        """Each request in flight, once."""
        return list({id(task): task for task in self._tasks.values()}.values())

    def _fail(self, task: Task, error: BaseException) -> None:
        self._leave(task)
        _settle(task, error)

    def _leave(self, task: Task) -> None:
        for key in task.episodes:
            self._loop.cancel(key)
            self._tasks.pop(key, None)


def _settle(task: Task, outcome: list[Trajectory] | BaseException) -> None:
    """Give a request its result, unless nobody waits for it any more."""
    if not task.result.set_running_or_notify_cancel():
        return
    if isinstance(outcome, BaseException):
        task.result.set_exception(outcome)
    else:
        task.result.set_result(outcome)
