"""What workers on Ray cost and gain: everybody's lists in this process, by one worker, and by two.

    PYTHONPATH=src python benchmarks/batch_workers.py RUN [--workers 1 2] [--shard 128]

Seconds are those of the processor: of this process, or of the busiest worker, loading apart from answering. So the
figures hold on a machine that others use, too; the clock's stand beside them. Needs the extra `ray`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deeprec.batch.cluster import LOCAL, ray_cluster
from deeprec.batch.recommend import RecommendAll, RecommendJob
from deeprec.batch.tasks import Execute, Task, Worker, execute_here
from deeprec.run import Run


@dataclass(frozen=True)
class TimedJob:
    """The job, and what each of its tasks took."""

    job: RecommendJob

    def open(self) -> TimedWorker:
        """Load, with a clock."""
        started = time.process_time()
        return TimedWorker(self.job.open(), time.process_time() - started)


@dataclass
class TimedWorker:
    """A worker that says what a task took in place of what it came to."""

    worker: Worker
    loading: float

    def work(self, task: Task) -> bytes:
        """Which process, seconds of loading, seconds of this task, bytes of its result."""
        started = time.process_time()
        content = self.worker.work(task)
        taken = time.process_time() - started
        return json.dumps([os.getpid(), self.loading, taken, len(content)]).encode()


def measure(name: str, job: TimedJob, tasks: Sequence[Task], execute: Execute) -> None:
    """Do all tasks, and print a row."""
    started = time.perf_counter()
    loading: dict[int, float] = {}
    seconds: dict[int, float] = defaultdict(float)
    size = 0
    for _, content in execute(job, tasks):
        process, load, taken, written = json.loads(content)
        loading[process], size = load, size + written
        seconds[process] += taken
    users = sum(task.users for task in tasks)
    busiest = max(seconds.values())
    print(
        f"{name:12} {users:6,} users {len(seconds)} processes  load {max(loading.values()):6.2f}  "
        f"answer {busiest:7.2f} (all {sum(seconds.values()):7.2f})  {1000 * busiest / users:6.2f} ms a user  "
        f"clock {time.perf_counter() - started:7.1f}  {size / users:.0f} bytes a user",
        flush=True,
    )


def main() -> None:
    """Print a row for this process and one for each number of workers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--shard", type=int, default=128, help="users of a task")
    chosen = parser.parse_args()
    batch = RecommendAll.of(Run.open(chosen.run), Path("not-written.parquet"), shard=chosen.shard)
    job, tasks = TimedJob(batch.job), batch.parts.tasks
    measure("in process", job, tasks, execute_here)
    for count in chosen.workers:
        started, before = time.perf_counter(), time.process_time()
        with ray_cluster(LOCAL, 1, count) as cluster:
            print(
                f"Ray started: {time.perf_counter() - started:.1f} s by the clock, {time.process_time() - before:.1f} "
                "of this process"
            )
            measure(f"{count} workers", job, tasks, cluster.execute)


if __name__ == "__main__":
    main()
