"""Who is next when many wait."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from deeprec.serve.fairness import FairQueue, QueueFullError


@dataclass(frozen=True)
class One:
    client: str
    number: int


def filled(most: int, *clients: str) -> FairQueue[One]:
    queue: FairQueue[One] = FairQueue(most)
    for number, client in enumerate(clients):
        assert queue.put(One(client, number)) is None
    return queue


def test_clients_take_turns_and_each_keeps_its_order() -> None:
    queue = filled(10, "a", "a", "a", "b", "c", "b")
    found = [(one.client, one.number) for one in queue.empty()]
    assert found == [("a", 0), ("b", 3), ("c", 4), ("a", 1), ("b", 5), ("a", 2)]
    assert len(queue) == 0


def test_the_fullest_makes_room_and_nobody_for_itself() -> None:
    queue = filled(4, "a", "a", "a", "b")
    with pytest.raises(QueueFullError, match="4 requests wait already"):
        queue.put(One("a", 9))
    assert queue.put(One("c", 9)) == One("a", 2)
    assert [one.client for one in queue.empty()] == ["a", "b", "c", "a"]
    even = filled(2, "a", "b")
    with pytest.raises(QueueFullError):
        even.put(One("c", 9))  # nobody has more than one


def test_one_that_left_is_not_taken() -> None:
    queue = filled(5, "a", "b", "a")
    queue.discard(One("a", 0))
    queue.discard(One("x", 7))
    queue.discard(One("b", 1))
    assert queue.empty() == [One("a", 2)]
