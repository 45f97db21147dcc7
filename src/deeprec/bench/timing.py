"""Timing a call so that a busy machine disturbs it little: it can only make a call slower."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_TRIES = 3


def call_ms(call: Callable[[], object], calls: int) -> float:
    """Milliseconds of one call: the best of `calls`, after one that warms up."""
    call()
    return min(_ms(call) for _ in range(calls))


def each_ms(call: Callable[[T], object], arguments: Sequence[T]) -> float:
    """Milliseconds of one call: the mean over `arguments` of the best of three, after one that warms up."""
    call(arguments[0])
    return statistics.fmean(
        min(_ms(lambda: call(argument)) for _ in range(_TRIES))  # noqa: B023 (called at once)
        for argument in arguments
    )


def _ms(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)
