"""What fits into a cluster, and what is said where Ray is missing; the cluster itself: tests/pipeline/test_ray.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from deeprec.batch.cluster import Cluster, Hand, Refusal, _places, _start, ray_cluster
from deeprec.batch.tasks import Task
from deeprec.errors import ClusterError, MissingExtraError


@pytest.mark.parametrize(
    ("found", "threads", "workers", "places"),
    [
        ({"CPU": 8.0}, 1, None, (8, 0)),
        ({"CPU": 8.0}, 3, None, (2, 0)),
        ({"CPU": 8.0}, 3, 1, (1, 0)),
        ({"CPU": 64.0, "GPU": 4.0}, 2, None, (4, 1)),
        ({"CPU": 2.0, "GPU": 4.0}, 1, None, (2, 1)),
    ],
)
def test_as_many_workers_as_fit(
    found: dict[str, float], threads: int, workers: int | None, places: tuple[int, int]
) -> None:
    assert _places(found, threads, workers) == places


@pytest.mark.parametrize(
    ("found", "threads", "workers", "parts"),
    [
        ({"CPU": 2.0}, 1, 3, ("3 workers of 1 CPUs each", "2 CPUs", "--workers 2 fits")),
        ({"CPU": 2.0}, 4, None, ("1 workers of 4 CPUs each", "lower --threads")),
        ({}, 1, None, ("no CPU",)),
        ({"CPU": 8.0, "GPU": 1.0}, 1, 2, ("and a GPU each", "1 GPUs", "--workers 1 fits")),
    ],
)
def test_a_small_cluster_is_told_what_fits(
    found: dict[str, float], threads: int, workers: int | None, parts: tuple[str, ...]
) -> None:
    with pytest.raises(ClusterError) as caught:
        _places(found, threads, workers)
    assert all(part in str(caught.value) for part in parts), caught.value


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"\[ray\]"), ray_cluster("local", 1):
        pass


class Slow:
    """A Ray whose first starts take too long; then it says so in an Exception of no class of its own."""

    def __init__(self, late: int) -> None:
        self.late, self.said = late, []

    def init(self, **options: object) -> None:
        self.said.append(options["address"])
        if len(self.said) <= self.late:
            raise Exception("The current node timed out during startup.")

    def shutdown(self) -> None:
        """Nothing is left of a start that failed."""


def test_a_slow_machine_gets_another_start_and_an_address_does_not() -> None:
    ray = Slow(2)
    _start(ray, "local")
    assert ray.said == ["local"] * 3
    with pytest.raises(ClusterError, match=r"--ray local: no Ray cluster answers .*timed out during startup"):
        _start(Slow(3), "local")
    other = Slow(1)
    with pytest.raises(ClusterError, match="--ray host:1: no Ray cluster answers"):
        _start(other, "host:1")
    assert len(other.said) == 1


class Lost(Exception):  # noqa: N818 - named as what happens
    """What Ray raises for an actor that died."""


class Workers:
    """Ray's part in `Cluster`, in this process: `dies` says of which calls, counted from 1, the worker is lost."""

    exceptions = SimpleNamespace(
        RayTaskError=ZeroDivisionError,
        RayError=Lost,
        RayActorError=Lost,
        OutOfMemoryError=Lost,
        ObjectLostError=Lost,
    )

    def __init__(self, dies: Callable[[int, Task], bool]) -> None:
        self.dies, self.calls, self.made = dies, 0, 0

    def remote(self, kind: type) -> Any:
        assert kind is Hand
        return SimpleNamespace(options=lambda **places: SimpleNamespace(remote=self.make))

    def make(self) -> Any:
        self.made += 1
        return SimpleNamespace(work=SimpleNamespace(remote=lambda job, task: (self.made, task)))

    def wait(self, found: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return found[-1:], found[:-1]  # the latest first: no order is promised

    def get(self, found: tuple[int, Task]) -> bytes | Refusal:
        self.calls += 1
        if self.dies(self.calls, found[1]):
            raise Lost("The actor died unexpectedly before finishing this task.")
        return Refusal("ConfigError: no run") if found[1].users == 0 else str(found[1].number).encode()


TASKS = tuple(Task(number, 1, number, number + 1) for number in range(7))


def test_a_lost_worker_is_replaced_and_its_task_done_again() -> None:
    ray = Workers(lambda call, task: call in (1, 4, 5))
    done = list(Cluster(ray, 2, 1, 0).execute(SimpleNamespace(), TASKS))
    assert sorted(task.number for task, _ in done) == list(range(7))
    assert all(content == str(task.number).encode() for task, content in done)
    assert ray.made == 2 + 3


def test_a_task_that_takes_workers_down_ends_the_batch() -> None:
    ray = Workers(lambda call, task: task.number == 2)
    done: list[int] = []
    results = (
        done.append(task.number) for task, _ in Cluster(ray, 2, 1, 0).execute(SimpleNamespace(), TASKS)
    )
    with pytest.raises(
        ClusterError, match=r"shard 2 \(rows 2 to 3\) took 3 workers down.*same command goes on"
    ):
        list(results)
    assert 2 not in done
    assert done


def test_a_refusal_comes_back_in_words() -> None:
    ray = Workers(lambda call, task: False)
    with pytest.raises(ClusterError, match="a worker of the Ray cluster refused: ConfigError: no run"):
        list(Cluster(ray, 1, 1, 0).execute(SimpleNamespace(), [Task(0, 0, 0, 0)]))
