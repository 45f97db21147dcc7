"""Results of finished tasks, a file each: what an interrupted batch goes on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from deeprec.batch.tasks import Execute, Job, Task
from deeprec.disk import read_json, whole_file, write_atomically
from deeprec.errors import RunError
from deeprec.locks import hold
from deeprec.progress import progress_bar, say, without_bars

_PLAN = "plan.json"


@dataclass(frozen=True)
class Parts:
    """A folder with the results of one batch; `identity` says what they depend on."""

    folder: Path
    identity: str
    tasks: tuple[Task, ...]

    def begin(self) -> None:
        """Make the folder, or go on with what is there; raises RunError where that is another batch's."""
        file = self.folder / _PLAN
        plan = {"identity": self.identity, "tasks": len(self.tasks)}
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(plan))
        elif _read(file) != plan:
            raise RunError(
                f"{self.folder}: holds parts of another batch (other policy, data, settings or options); "
                "repeat that command to finish it, or delete the folder"
            )

    def missing(self) -> list[Task]:
        """Tasks without a result, in order."""
        return [task for task in self.tasks if not self.place(task).is_file()]

    def place(self, task: Task) -> Path:
        """Where the result of a task lies."""
        return self.folder / f"{task.number:06}.done"

    def complete(self, job: Job, execute: Execute, what: str) -> None:
        """Have every task done that has no result yet; each result is kept as soon as it is there."""
        missing = self.missing()
        users, left = (sum(task.users for task in tasks) for tasks in (self.tasks, missing))
        if left < users:
            say(f"{what}: {users - left:,} of {users:,} users are done already")
        with progress_bar(what, users) as bar:
            bar.advance(users - left)
            with without_bars():  # of each shard
                for task, content in execute(job, missing):
                    with whole_file(self.place(task)) as part:
                        part.write_bytes(content)
                    bar.advance(task.users)

    def remove(self) -> None:
        """Delete the folder: what was made of the parts stands elsewhere."""
        shutil.rmtree(self.folder)


@contextmanager
def only_one(folder: Path, place: Path) -> Iterator[None]:
    """Within the block no other process works at the batch of `place`; raises RunLocked, naming who does."""
    with hold(folder / "lock", place):
        yield


def cut(bounds: Sequence[int], users: int, size: int) -> tuple[Task, ...]:
    """Tasks of `size` users each, the last one smaller; each from one bound to the next.

    >>> [(task.start, task.stop, task.users) for task in cut([0, 9, 12], 3, 2)]
    [(0, 9, 2), (9, 12, 1)]
    """
    return tuple(
        Task(number, min(size, users - number * size), start, stop)
        for number, (start, stop) in enumerate(pairwise(bounds))
    )


def _read(file: Path) -> object:
    try:
        return read_json(file)
    except ValueError:
        return None
