"""A batch on Ray: one actor a worker, which does tasks of any job; a lost one is replaced, and its task done again.

Actors of Ray's core and not Ray Data: a task that takes down whoever does it must end the batch with its name, where
Ray Data would go on for ever, and its tables would have to hold what evaluations keep.
"""

from __future__ import annotations

import re
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from deeprec.batch.tasks import Done, Job, Task, Worker
from deeprec.distribution import install_command
from deeprec.errors import ClusterError, DeepRecError, MissingExtraError, first_line
from deeprec.progress import say

LOCAL = "local"  # the address that starts a cluster on this machine, for this batch
_OLDEST, _BELOW = (2, 60), (3,)  # what the extra `ray` asks for
_KNOCKS, _PAUSE, _PATIENCE = 3, 2.0, 3.0  # times that an address is tried, seconds between, seconds each
_STARTS = 3  # times that a cluster on this machine is started
_DEATHS = 3  # of workers at one task: then it is the task
_WAIT = 60.0  # seconds without a result after which the user hears of it
_STORE = 200 << 20  # bytes: results are small
_GO_ON = "finished shards are kept, and the same command goes on"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an actor could not do, in words: errors of ours need not survive the way back as objects."""

    text: str


class Hand:
    """What lives in each actor; keeps what it loaded for the next task of the same job."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._worker: Worker | None = None

    def work(self, job: Job, task: Task) -> bytes | Refusal:
        """The result of a task; a Refusal where what it needs is not there."""
        try:
            if self._worker is None or job != self._job:
                self._job, self._worker = job, None  # the former is let go before the next is loaded
                self._worker = job.open()
            return self._worker.work(task)
        except DeepRecError as error:
            return Refusal(f"{type(error).__name__}: {error}")


class Cluster:
    """Workers on a Ray cluster: `execute` has them do tasks."""

    def __init__(self, ray: Any, workers: int, threads: int, gpus: int) -> None:
        self._ray = ray
        self._remote = ray.remote(Hand).options(num_cpus=threads, num_gpus=gpus)
        self._hands = [self._remote.remote() for _ in range(workers)]

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self._hands)

    def execute(self, job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
        """Results as they come, in any order.

        Raises ClusterError where a worker can't load what it needs, where one task has taken several workers down,
        and where the cluster is gone.
        """
        try:
            yield from self._execute(job, tasks)
        except self._ray.exceptions.RayTaskError:
            raise  # a fault of the program, with the worker's own traceback
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise ClusterError(f"the Ray cluster is gone ({first_line(error)}); {_GO_ON}") from None

    def _execute(self, job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
        waiting, deaths = deque(tasks), Counter[int]()
        free = list(range(len(self._hands)))
        at_work: dict[Any, tuple[int, Task]] = {}
        while waiting or at_work:
            while waiting and free:
                hand, task = free.pop(), waiting.popleft()
                at_work[self._hands[hand].work.remote(job, task)] = hand, task
            ready, _ = self._ray.wait(list(at_work), timeout=_WAIT)
            if not ready:
                say(
                    f"no shard finished in {_WAIT:.0f} s; {len(at_work)} workers load, compute or wait for a place"
                )
            for found in ready:
                hand, task = at_work.pop(found)
                free.append(hand)
                content = self._result(found, hand, task, deaths)
                if content is None:
                    waiting.appendleft(task)
                else:
                    yield task, content

    def _result(self, found: Any, hand: int, task: Task, deaths: Counter[int]) -> bytes | None:
        """What a task came to; None where its worker was lost: another has taken its place."""
        errors = self._ray.exceptions
        try:
            content: bytes | Refusal = self._ray.get(found)
        except (errors.RayActorError, errors.OutOfMemoryError, errors.ObjectLostError) as error:
            deaths[task.number] += 1
            if deaths[task.number] >= _DEATHS:
                raise ClusterError(
                    f"shard {task.number} (rows {task.start} to {task.stop}) took {_DEATHS} workers down, the last: "
                    f"{_cause(error)}; {_GO_ON}, with fewer --workers where memory ran out"
                ) from None
            say(f"a worker was lost ({_cause(error)}); another one does shard {task.number}")
            self._hands[hand] = self._remote.remote()
            return None
        if isinstance(content, Refusal):
            raise ClusterError(f"a worker of the Ray cluster refused: {content.text}")
        return content


@contextmanager
def ray_cluster(address: str, threads: int, workers: int | None = None) -> Iterator[Cluster]:
    """Workers of `threads` cores each (and a GPU each where the cluster has some): `workers`, or all that fit.

    `address` as Ray takes it (HOST:PORT, ray://HOST:PORT, auto), or LOCAL. Raises MissingExtraError without Ray,
    ClusterError for a version that doesn't fit, a cluster that can't be reached, or one that is too small.
    """
    ray = _import_ray()
    if address not in (LOCAL, "auto"):
        knock(address, f"--ray {address}")
    _start(ray, address)
    try:
        number, gpus = _places(ray.cluster_resources(), threads, workers)
        cluster = Cluster(ray, number, threads, gpus)
        say(f"Ray: {cluster.workers} workers of {threads} threads")
        yield cluster
    finally:
        ray.shutdown()


def _start(ray: Any, address: str) -> None:
    """Start or join a cluster; a busy machine gets more than the half minute that Ray gives it."""
    options: dict[str, Any] = (
        {"include_dashboard": False, "object_store_memory": _STORE} if address == LOCAL else {}
    )
    for number in range(1, _STARTS + 1):
        with _Starting() as start:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
        if start.error is None:
            return
        ray.shutdown()
        if address != LOCAL or number == _STARTS:
            raise ClusterError(f"--ray {address}: no Ray cluster answers ({first_line(start.error)})")
        say(f"Ray did not start ({first_line(start.error)}); once more")


class _Starting:
    """Takes what Ray raises where it can't start; of a start that takes too long that is Exception itself."""

    error: BaseException | None = None

    def __enter__(self) -> _Starting:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if kind is Exception or isinstance(error, ConnectionError | RuntimeError | OSError):
            self.error = error
        return self.error is not None


def _places(found: dict[str, float], threads: int, workers: int | None) -> tuple[int, int]:
    """How many workers, and GPUs for each."""
    gpus = 1 if found.get("GPU", 0) >= 1 else 0
    fits = int(found.get("CPU", 0)) // threads
    if gpus:
        fits = min(fits, int(found["GPU"]))
    wanted = fits if workers is None else workers
    if wanted > fits or not fits:
        shown = ", ".join(f"{int(found.get(kind, 0))} {kind}s" for kind in ("CPU", "GPU") if kind in found)
        least = f"{max(wanted, 1)} workers of {threads} CPUs{' and a GPU' if gpus else ''} each"
        remedy = f"--workers {fits} fits" if fits else "lower --threads"
        raise ClusterError(f"the Ray cluster is too small for {least}: it has {shown or 'no CPU'}; {remedy}")
    return wanted, gpus


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--ray", "ray") from None
    version = metadata.version("ray")
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if not _OLDEST <= numbers < _BELOW:
        raise ClusterError(
            f"Ray {version} is installed, 2.60 or newer and below 3 is needed: {install_command('ray')}"
        )
    return ray


def knock(address: str, asked: str) -> None:
    """Raise ClusterError where nobody listens at the address that was `asked` for: Ray would try for minutes."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise ClusterError(f"{asked}: is no address; give HOST:PORT, ray://HOST:PORT, auto, or none for here")
    for number in range(1, _KNOCKS + 1):
        try:
            socket.create_connection((host, port), _PATIENCE).close()
            return
        except OSError as error:
            if number == _KNOCKS:
                raise ClusterError(
                    f"{asked}: can't be reached ({error.strerror or error}), tried {_KNOCKS} times; start it "
                    "with `ray start --head`, or leave the address out to use this machine"
                ) from None
            time.sleep(_PAUSE)


def _cause(error: BaseException) -> str:
    """Why a worker was lost, in a few words of Ray's long explanation."""
    text = " ".join(str(error).split())
    found = re.search(r"(?:exit detail|The actor is dead because|error_message)\W+([^.]{4,120})", text)
    return found[1] if found else type(error).__name__
