"""Blocking calls for many requests, made by few turns of a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Gathering(Generic[K, V]):
    """Looks keys up by calls of `look_up` in a thread; who comes while one runs waits for the next one.

    A thread for each request would cost more than what it does: each waits for the
    interpreter's lock, and makes the policy's thread wait for it. `look_up` gives one result
    a key, in order; a result that is an exception is raised where its key was asked. A call
    that raises is made again for each half of its keys, until it is known whose doing it
    was; an error of the kinds in `common` is everybody's. Used by one event loop.
    """

    def __init__(
        self,
        look_up: Callable[[Sequence[K]], Sequence[V | Exception]],
        executor: Executor | None = None,
        common: tuple[type[Exception], ...] = (),
    ) -> None:
        """`executor` makes the calls; none: the event loop's own."""
        self._look_up, self._executor, self._common = look_up, executor, common
        self._waiting: list[tuple[K, asyncio.Future[V]]] = []
        self._work: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V:
        """What is found for one key."""
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
                keys = [key for key, _ in asked]
                try:
                    found = await loop.run_in_executor(self._executor, self._contained, keys)
                except RuntimeError as error:  # the thread has been stopped: nobody may wait for ever
                    found = [error for _ in keys]
                for (_, future), result in zip(asked, found, strict=True):
                    if not future.done():
                        _settle(future, result)
        finally:
            self._work = None

    def _contained(self, keys: Sequence[K]) -> list[V | Exception]:
        """The results, and an error where its own key was asked."""
        try:
            return list(self._look_up(keys))
        except self._common as error:
            return [error for _ in keys]
        except Exception as error:
            if len(keys) < 2:
                return [error for _ in keys]
        half = len(keys) // 2
        return self._contained(keys[:half]) + self._contained(keys[half:])


def _settle(future: asyncio.Future[V], result: V | Exception) -> None:
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
