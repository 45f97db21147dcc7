"""Held-out users asked for by workers: what `evaluate` needs to know nothing of."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from deeprec.batch.answers import Kept, from_bytes, to_bytes
from deeprec.batch.parts import Parts, cut
from deeprec.batch.tasks import Execute, Task
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.distribution import installed_version
from deeprec.errors import EvaluationError, RunError
from deeprec.evaluation.asking import USERS_PER_CALL
from deeprec.evaluation.evaluate import choose_examples, named_examples, targets_hash
from deeprec.evaluation.stage import SEED
from deeprec.pipeline import build_recommenders, load_stages
from deeprec.recommender import Recommendation, Recommender
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.run import Run, fingerprint
from deeprec.stages import EVALUATION
from deeprec.threads import computing_with
from deeprec.types import Example, Trajectory

if TYPE_CHECKING:
    from deeprec.trm.base import ExplorableRetriever

FOLDER = "evaluation.parts"  # of the run


@dataclass(frozen=True)
class EvaluateJob:
    """One method's answers for the users of an evaluation, or trajectories that it samples."""

    folder: str
    part: TargetPart
    max_users: int | None
    users: tuple[str, ...] | None
    method: str
    kind: Literal["answers", "samples"]
    k: int
    threads: int
    identity: str

    def open(self) -> EvaluateWorker:
        """Load data, TRM and method; raises RunError where they are not what the evaluation began with."""
        run = Run.open(Path(self.folder))
        dataset, trm = _loaded(self.folder, _stages_of(run))
        if self.users is None:
            examples, _ = choose_examples(dataset, self.part, self.max_users, SEED)
        else:
            examples = named_examples(dataset, self.part, self.users)
        if self.identity != _identity(run, dataset, self.part, examples):
            raise RunError(f"{run.folder}: was changed since this evaluation began, or is another run here")
        with computing_with(self.threads):
            recommender = build_recommenders(run, [self.method], (dataset, trm))[self.method]
        return EvaluateWorker(self, recommender, examples)


@dataclass(frozen=True)
class EvaluateWorker:
    """A loaded method."""

    job: EvaluateJob
    recommender: Recommender
    examples: Sequence[Example]

    def work(self, task: Task) -> bytes:
        """What the method says of the users of a task."""
        batch = self.examples[task.start : task.stop]
        with computing_with(self.job.threads):
            if self.job.kind == "answers":
                return to_bytes(self.recommender.recommend(batch, self.job.k))
            if not isinstance(self.recommender, DeepRecRecommender):
                raise EvaluationError(f"'{self.recommender.name}' can't be sampled: it is no policy")
            return to_bytes(self.recommender.sample(batch))


class AskingWorkers:
    """Asks for users by tasks; finished ones are kept in the run until `remove`, so that the command can go on."""

    def __init__(
        self,
        run: Run,
        dataset: Dataset,
        part: TargetPart,
        execute: Execute,
        *,
        threads: int,
        max_users: int | None = None,
        users: Sequence[str] | None = None,
        size: int = USERS_PER_CALL,
    ) -> None:
        """The users are those that `evaluate` chooses with the same arguments."""
        self._run, self._dataset, self._part, self._execute = run, dataset, part, execute
        self._threads, self._max_users, self._size = threads, max_users, size
        self._users = None if users is None else tuple(users)
        self._kept: list[Parts] = []

    def answers(
        self, recommender: Recommender, examples: Sequence[Example], k: int
    ) -> Sequence[Recommendation]:
        """An answer for each example, in order."""
        return self._ask(recommender, "answers", examples, k, Recommendation)

    def samples(self, recommender: DeepRecRecommender, examples: Sequence[Example]) -> Sequence[Trajectory]:
        """A sampled trajectory for each example, in order."""
        return self._ask(recommender, "samples", examples, 0, Trajectory)

    def _ask(
        self,
        recommender: Recommender,
        kind: Literal["answers", "samples"],
        examples: Sequence[Example],
        k: int,
        what: type[Kept],
    ) -> list[Kept]:
        job = EvaluateJob(
            folder=str(self._run.folder.resolve()),
            part=self._part,
            max_users=self._max_users,
            users=self._users,
            method=recommender.name,
            kind=kind,
            k=k,
            threads=self._threads,
            identity=_identity(self._run, self._dataset, self._part, examples),
        )
        name = fingerprint(job.method, job.kind, job.k, job.threads, job.identity, self._size)
        bounds = [*range(0, len(examples), self._size), len(examples)]
        parts = Parts(self._folder / name, name, cut(bounds, len(examples), self._size))
        self._kept.append(parts)
        parts.begin()
        title = f"{'Sampling' if kind == 'samples' else 'Evaluating'} {recommender.name}"
        parts.complete(job, self._execute, title)
        return [one for task in parts.tasks for one in from_bytes(parts.place(task).read_bytes(), what)]

    def remove(self) -> None:
        """Delete what was kept: the evaluation stands elsewhere."""
        for parts in self._kept:
            parts.remove()
        with suppress(OSError):  # not empty: another evaluation's
            self._folder.rmdir()

    @property
    def _folder(self) -> Path:
        return self._run.folder / FOLDER


@lru_cache(maxsize=1)
def _loaded(folder: str, stages: str) -> tuple[Dataset, ExplorableRetriever]:
    """Data and TRM of a run, once for all methods; `stages` says which."""
    return load_stages(Run.open(Path(folder)))


def _stages_of(run: Run) -> str:
    """What stands in a run, but for its evaluation."""
    return fingerprint(
        {name: record["inputs"] for name, record in run.finished().items() if name != EVALUATION}
    )


def _identity(run: Run, dataset: Dataset, part: TargetPart, examples: Sequence[Example]) -> str:
    """What the answers depend on, besides method, list length and threads."""
    config = run.config
    return fingerprint(
        installed_version(),
        _stages_of(run),
        dataset.fingerprint,
        targets_hash(dataset, part, examples, True),
        [section.model_dump(mode="json") for section in (config.rollout, config.inference, config.engine)],
        config.seed,
    )
