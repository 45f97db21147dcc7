"""Requests that share the calls of a thread: one answer each, errors where they belong, nobody forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from deeprec.serve.gathering import Gathering


class Halves:
    """Halves numbers, odd ones are refused, and the first call waits to be let go."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, keys: Sequence[int]) -> list[int | Exception]:
        self.calls.append(list(keys))
        assert self.go.wait(10)
        if 0 in keys:
            raise OSError("nothing is reached")
        return [ValueError(f"{key} is odd") if key % 2 else key // 2 for key in keys]


async def _asked(gathering: Gathering[int, int], *keys: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(gathering.ask(key)) for key in keys]
    await asyncio.sleep(0.01)  # long enough for each to have asked
    return tasks


def test_who_comes_while_a_call_runs_shares_the_next_one() -> None:
    async def play() -> None:
        halves = Halves()
        gathering: Gathering[int, int] = Gathering(halves)
        first = await _asked(gathering, 2)
        later = await _asked(gathering, 4, 5, 6, 8)
        later.pop(2).cancel()  # hangs up: 6 isn't worked for
        await asyncio.sleep(0)
        halves.go.set()
        assert await first[0] == 1
        found = await asyncio.gather(*later, return_exceptions=True)
        assert (found[0], str(found[1]), found[2]) == (2, "5 is odd", 4)
        assert halves.calls == [[2], [4, 5, 8]]

    asyncio.run(play())


def test_whoever_makes_a_call_fail_fails_alone() -> None:
    async def play() -> None:
        halves = Halves()
        halves.go.set()
        gathering: Gathering[int, int] = Gathering(halves)
        keys = [*range(2, 40, 2), 0, *range(40, 60, 2)]
        found = await asyncio.gather(*map(gathering.ask, keys), return_exceptions=True)
        assert isinstance(found[19], OSError)
        assert [*found[:19], *found[20:]] == [key // 2 for key in keys if key]
        assert len(halves.calls) <= 11  # halved again and again, not one by one

    asyncio.run(play())


def test_what_concerns_everybody_is_tried_once_and_the_next_call_works() -> None:
    async def play() -> None:
        halves = Halves()
        halves.go.set()
        gathering: Gathering[int, int] = Gathering(halves, common=(OSError,))
        found = await asyncio.gather(gathering.ask(0), gathering.ask(2), return_exceptions=True)
        assert halves.calls == [[0, 2]]
        for error in found:
            assert isinstance(error, OSError)
        assert await gathering.ask(2) == 1
        with pytest.raises(ValueError, match="3 is odd"):
            await gathering.ask(3)

    asyncio.run(play())


def test_a_thread_that_was_stopped_leaves_nobody_waiting() -> None:
    async def ask() -> None:
        executor = ThreadPoolExecutor(1)
        executor.shutdown()
        gathering = Gathering(Halves(), executor)
        with pytest.raises(RuntimeError, match="shutdown"):
            await asyncio.wait_for(gathering.ask(4), 5)

    asyncio.run(ask())
