"""A batch as tasks that don't depend on each other, and jobs that say how one is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Task:
    """A shard: some users that stand together, from row `start` to before row `stop` of what the job reads."""

    number: int
    users: int
    start: int
    stop: int


class Worker(Protocol):
    """Does tasks of one job in this process. The same task gives the same bytes, whatever was done before."""

    def work(self, task: Task) -> bytes:
        """What the task comes to."""
        ...


class Job(Protocol):
    """What is to be done; small and made of plain values, for it travels to other processes."""

    def open(self) -> Worker:
        """Load what its tasks need. Raises a DeepRecError where that is not there, or not what it was."""
        ...


Done = tuple[Task, bytes]
Execute = Callable[[Job, Sequence[Task]], Iterator[Done]]


def execute_here(job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
    """Do the tasks in this process, one after the other; nothing is loaded where there are none."""
    worker: Worker | None = None
    for task in tasks:
        worker = worker or job.open()
        yield task, worker.work(task)
