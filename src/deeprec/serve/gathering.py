"""Blocking calls for many requests, made by few turns of a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gathering(Generic[K, V]):
    """Answers keys by calls of `answers` in a thread; who comes while one runs waits for the next one.

    A thread for each request would cost more than what it does: each waits for the
    interpreter's lock, and makes the policy's thread wait for it. `answers` gives one answer
    a key, in order; an answer that is an exception is raised where its key was asked, an
    exception of the whole call everywhere. Used by one event loop.
    """

    def __init__(
        self, answers: Callable[[Sequence[K]], Sequence[V | Exception]], executor: Executor | None = None
    ) -> None:
        """`executor` makes the calls; none: the event loop's own."""
        self._answers, self._executor = answers, executor
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V:
        """The answer to one key."""
        future: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, future))
        if self._work is None:
            self._work = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                # Who hung up has a future that is done.
                asked = [(key, future) for key, future in self._waiting if not future.done()]
                self._waiting = []
                found: Sequence[V | Exception]
                try:
                    found = await loop.run_in_executor(
                        self._executor, self._answers, [key for key, _ in asked]
                    )
                # It is raised where each of the keys was asked.
                except Exception as error:
                    found = [error] * len(asked)
                for (_, future), answer in zip(asked, found, strict=True):
                    if not future.done():
                        _settle(future, answer)
        finally:
            self._work = None


def _settle(future: asyncio.Future[V], answer: V | Exception) -> None:
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
