"""Recommendations for every user of a run, written to one Parquet file."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from deeprec.batch.parts import Parts, cut, only_one
from deeprec.batch.tasks import Execute, Task, execute_here
from deeprec.data.dataset import Dataset
from deeprec.data.format import read_dataset, read_outline
from deeprec.data.shards import read_shard, shard_bounds
from deeprec.disk import whole_file
from deeprec.distribution import installed_version
from deeprec.errors import DataError, RunError
from deeprec.pipeline import build_deeprec
from deeprec.recommender import Recommendation
from deeprec.run import Run, fingerprint
from deeprec.stages import DATA, TRM
from deeprec.threads import computing_with
from deeprec.trm.kinds import NETWORKS
from deeprec.trm.stage import load_trm
from deeprec.types import Example

SHARD = 512
_KEY = "deeprec"  # of the file's metadata
SCHEMA = {
    "user_id": pl.String,
    "rank": pl.Int32,
    "item_id": pl.String,
    "title": pl.String,
    "source": pl.String,
    "reason": pl.String,
}


@dataclass(frozen=True)
class RecommendJob:
    """k items for each user, by the policy of `stage` in the run at `folder`; where it fails the TRM fills in."""

    folder: str
    stage: str
    k: int
    threads: int
    shard: int  # users that are asked for together
    identity: str = ""

    def open(self) -> RecommendWorker:
        """Load policy and TRM; raises RunError where they are not what the batch began with."""
        run = Run.open(Path(self.folder))
        if identity_of(run, self) != self.identity:
            raise RunError(
                f"{run.folder}: was changed since this batch began, or is another run on this machine; "
                "delete the parts and begin anew"
            )
        return RecommendWorker(run, self)


class RecommendWorker:
    """A loaded policy that answers shards."""

    def __init__(self, run: Run, job: RecommendJob) -> None:
        self._run, self._job = run, job
        for stage in (DATA, TRM, job.stage):
            run.require(stage)
        self._outline = read_outline(run.data)
        # Our own networks are read; another TRM is made of everybody's interactions each time that it is loaded.
        whole = self._outline if run.config.trm.kind in NETWORKS else read_dataset(run.data)
        with computing_with(job.threads):
            self._recommender = build_deeprec(
                run, self._outline, load_trm(run, whole), job.stage, fill_in=True
            )

    def work(self, task: Task) -> bytes:
        """Rows of the output for the users of a shard, as Parquet."""
        dataset = read_shard(self._outline, self._run.data, task.start, task.stop)
        examples = [dataset.known_history(user) for user in dataset.user_ids]
        with computing_with(self._job.threads):
            found = self._recommender.recommend(examples, self._job.k)
        buffer = io.BytesIO()
        _rows(examples, found, self._outline).write_parquet(buffer)
        return buffer.getvalue()


@dataclass(frozen=True)
class RecommendAll:
    """The whole batch: which job, where the result goes, and what it is cut into."""

    run: Run
    job: RecommendJob
    output: Path

    @classmethod
    def of(
        cls,
        run: Run,
        output: Path,
        *,
        stage: str | None = None,
        k: int | None = None,
        threads: int = 1,
        shard: int = SHARD,
    ) -> RecommendAll:
        """Raises RunError for a run without a policy, or an output that is there already as something else."""
        for name in (DATA, TRM):
            run.require(name)
        chosen = stage or run.last_policy().name
        run.require(chosen)
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{output}: can't be written ({error.strerror}); name another --output") from None
        size = run.config.rollout.recommended if k is None else k
        job = RecommendJob(str(run.folder.resolve()), chosen, size, threads, shard)
        outline = read_outline(run.data)
        if outline.withheld:
            raise DataError(f"{run.folder}: {outline.without_users()}")
        n_items = outline.catalog.n_items
        if job.k > n_items:
            raise DataError(f"-k {job.k} is more than the catalogue's {n_items} items; lower it")
        return cls(run, replace(job, identity=identity_of(run, job)), output)

    @cached_property
    def parts(self) -> Parts:
        """Where finished shards lie: beside the output."""
        folder = self.output.with_name(f"{self.output.name}.parts")
        return Parts(
            folder, self.job.identity, cut(*shard_bounds(self.run.data, self.job.shard), self.job.shard)
        )

    def users(self) -> int:
        """Users of the output."""
        return sum(task.users for task in self.parts.tasks)

    def make(self, execute: Execute = execute_here) -> bool:
        """Write the output; False where it is there already, of the same policy and options.

        An interrupted batch goes on from the shards that are finished. Raises RunError where the output or the
        parts are another batch's.
        """
        if self.is_made():
            return False
        with only_one(self.parts.folder, self.output):
            self.parts.begin()
            self.parts.complete(self.job, execute, "Recommending")
            self._join()
            self.parts.remove()
        return True

    def is_made(self) -> bool:
        """Whether the output is there, of this policy, these data and options; RunError where it is another's."""
        if not self.output.exists():
            return False
        try:
            made = pl.read_parquet_metadata(self.output).get(_KEY)
        except (pl.exceptions.PolarsError, OSError):
            made = None
        if made == self.job.identity:
            return True
        raise RunError(
            f"{self.output}: is there already, and not of this policy, these data and options; delete it, or name "
            "another --output"
        )

    def _join(self) -> None:
        """One file of all parts, in the order of the data; streamed."""
        files = [self.parts.place(task) for task in self.parts.tasks]
        with whole_file(self.output) as part:
            frame = pl.scan_parquet(files) if files else pl.LazyFrame(schema=SCHEMA)
            frame.sink_parquet(part, metadata={_KEY: self.job.identity}, maintain_order=True)


def identity_of(run: Run, job: RecommendJob) -> str:
    """What the answers depend on."""
    finished = run.finished()
    config = run.config
    return fingerprint(
        installed_version(),
        {stage: finished[stage]["inputs"] for stage in (DATA, TRM, job.stage) if stage in finished},
        [part.model_dump(mode="json") for part in (config.rollout, config.inference, config.engine)],
        [config.seed, job.stage, job.k, job.threads, job.shard],
    )


def _rows(examples: list[Example], found: list[Recommendation], dataset: Dataset) -> pl.DataFrame:
    catalog = dataset.catalog
    rows = [
        (example.user_id, rank, catalog[item].item_id, catalog[item].label, answer.source, answer.reason)
        for example, answer in zip(examples, found, strict=True)
        for rank, item in enumerate(answer.ranking, 1)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
