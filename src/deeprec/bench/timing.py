"""Timing a call so that a busy machine disturbs it little."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def call_ms(call: Callable[[], object], calls: int) -> float:
    """Milliseconds of one call: the median of `calls`, after one that warms up."""
    call()
    return _median_ms([call] * calls)


def each_ms(call: Callable[[T], object], arguments: Sequence[T]) -> float:
    """Milliseconds of one call: the median over `arguments`, after one that warms up."""
    call(arguments[0])
    return _median_ms([lambda argument=argument: call(argument) for argument in arguments])  # type: ignore[misc]


def _median_ms(calls: Sequence[Callable[[], object]]) -> float:
    taken = []
    for call in calls:
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return statistics.median(taken)
