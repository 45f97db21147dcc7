"""How many threads a stage computes with: measured on its own step, within what the machine really gives.

Small networks gain little from a second thread, and lose most of their time where another program holds a core:
the threads of an operation wait for the slowest of them. So a stage tries its own step with one thread and with all
before it begins, and takes what is faster. What was chosen is kept in the run, since sums in another order differ in
their last bits: an interrupted stage goes on as it began.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.allocator import keep_freed_memory
from deeprec.disk import read_json, write_atomically
from deeprec.errors import ConfigError
from deeprec.progress import say

if TYPE_CHECKING:
    from deeprec.run import Run

_FILE = "threads.json"
_ROUNDS = 5  # timed steps a number of threads: the median of five outlives a hiccup
_GAIN = 1.1  # more threads must be this much faster: they cost others their cores
MOST_THREADS = 1024  # more than a machine of any size has
_fixed: int | None = None  # what `--threads` says


@dataclass(frozen=True, slots=True)
class Choice:
    """Threads that a stage computes with, of `most` that it could have; `reason` says why in a few words."""

    threads: int
    most: int
    reason: str

    def __str__(self) -> str:
        return f"{self.threads} of {self.most} {'thread' if self.most == 1 else 'threads'} ({self.reason})"


def wait_passively() -> None:
    """Let threads that wait give up their core, unless the user decided; works only before torch is loaded.

    Spinning threads fight with whatever else runs: with two cores busy a small network's step took twice as long.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def fix_threads(number: int | None) -> None:
    """Let every stage of this process compute with `number` threads (None: each measures).

    Raises ConfigError below 1, and for more than any machine has: a pool of so many can't be started.
    """
    global _fixed
    if number is not None and number < 1:
        raise ConfigError(f"--threads {number}: must be at least 1")
    if number is not None and number > MOST_THREADS:
        raise ConfigError(f"--threads {number}: must be {MOST_THREADS} at most; cores here: {usable_cores()}")
    _fixed = number


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: its affinity, cut by the quota of its control group (containers), at least 1.

    A quota of one and a half cores is one: a second thread would be stopped half of the time, the first wait for it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups, own)
    return cores if quota is None else max(1, min(cores, int(quota)))


@contextmanager
def stage_threads(run: Run, stage: str, inputs: str, step: Callable[[], object]) -> Iterator[Choice]:
    """Compute the block with the threads that suit `step`, a part of the stage's work that changes nothing.

    What a stage with the same `inputs` began with is taken again. The choice is shown, and undone after the block.
    From here on the process keeps the memory that it frees (`allocator`).
    """
    import torch

    keep_freed_memory()  # before the step is timed
    before = torch.get_num_threads()
    choice = _kept(run, stage, inputs) or choose_threads(step)
    _keep(run, stage, inputs, choice)
    say(f"{stage}: {choice}")
    torch.set_num_threads(choice.threads)
    try:
        yield choice
    finally:
        torch.set_num_threads(before)


def batch_threads() -> int:
    """Threads of one process of a batch: as told, else one: more of them would change sums in their last bits."""
    planned = planned_threads()
    return 1 if planned is None else planned.threads


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Compute the block with so many threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_threads(step: Callable[[], object]) -> Choice:
    """What `--threads` or OMP_NUM_THREADS say; otherwise the faster of one thread and all, by a few runs of `step`."""
    planned = planned_threads()
    if planned is not None:
        return planned
    most = usable_cores()
    one, all_ = _seconds(step, 1), _seconds(step, most)
    if one <= all_ * _GAIN:
        return Choice(1, most, f"{all_ / one:.1f}x as fast as with {most}")
    return Choice(most, most, f"{one / all_:.1f}x as fast as with 1")


def planned_threads() -> Choice | None:
    """The choice where nothing has to be measured; None: each stage measures."""
    import torch

    most = usable_cores()
    if _fixed is not None:
        return Choice(_fixed, most, "as told by --threads")
    if os.environ.get("OMP_NUM_THREADS"):
        return Choice(torch.get_num_threads(), most, "as told by OMP_NUM_THREADS")
    if most == 1:
        return Choice(1, 1, "all there is")
    return Choice(torch.get_num_threads(), most, "the GPU computes") if torch.cuda.is_available() else None


def _seconds(step: Callable[[], object], threads: int) -> float:
    import torch

    torch.set_num_threads(threads)
    step()  # the first one makes threads and buffers
    found = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        step()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def _kept(run: Run, stage: str, inputs: str) -> Choice | None:
    found = _read(run).get(stage)
    if (
        found is None
        or found.get("inputs") != inputs
        or _fixed is not None
        or os.environ.get("OMP_NUM_THREADS")
    ):
        return None
    most = usable_cores()
    threads = int(found["threads"])
    return Choice(threads, most, "as it began") if 1 <= threads <= most else None


def _keep(run: Run, stage: str, inputs: str, choice: Choice) -> None:
    kept = _read(run) | {stage: {"inputs": inputs, "threads": choice.threads}}
    write_atomically(run.folder / _FILE, json.dumps(kept, indent=1) + "\n")


def _read(run: Run) -> dict[str, dict[str, str | int]]:
    """What stages began with; nothing where the file can't be read: then they measure."""
    try:
        found = read_json(run.folder / _FILE)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _quota(cgroups: Path, own: Path) -> float | None:
    """Cores that the control groups of this process allow; None: no limit, or no control groups here."""
    try:
        lines = [line.split(":", 2) for line in own.read_text(encoding="utf-8").splitlines()]
    except OSError:
        return None
    limits = []
    for _, controllers, path in (line for line in lines if len(line) == 3):
        if not controllers:  # version 2: one tree, each level can set a limit
            limits += _limits(cgroups, path, "cpu.max")
        elif "cpu" in controllers.split(","):
            limits += _limits(cgroups / "cpu", path, "cpu.cfs_quota_us")
    return min(limits, default=None)


def _limits(root: Path, path: str, name: str) -> list[float]:
    """The limits on the way from a group up to the root of its tree."""
    folder = root / path.strip("/")
    # In a container the group's own path may not be visible: its root is the group then.
    levels = [folder, *folder.parents] if folder.is_dir() else [root]
    files = [level / name for level in levels if level.is_relative_to(root)]
    return [limit for limit in map(_limit, files) if limit is not None]


def _limit(file: Path) -> float | None:
    try:
        words = file.read_text(encoding="utf-8").split()
        period = (
            words[1] if len(words) > 1 else (file.parent / "cpu.cfs_period_us").read_text(encoding="utf-8")
        )
        return float(words[0]) / float(period) if words[0] not in {"max", "-1"} else None
    except (OSError, ValueError, IndexError, ZeroDivisionError):
        return None
