"""Batches on a Ray cluster, from the first worker to the last file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from deeprec.batch.cluster import ray_cluster
from deeprec.batch.evaluate import AskingWorkers
from deeprec.batch.recommend import RecommendAll
from deeprec.data.dataset import Dataset, TargetPart
from deeprec.run import Run
from deeprec.threads import batch_threads, fix_threads


@contextmanager
def asking_workers(
    run: Run,
    dataset: Dataset,
    part: TargetPart,
    address: str,
    workers: int | None,
    max_users: int | None,
    users: Sequence[str] | None,
) -> Iterator[AskingWorkers]:
    """Workers that answer an evaluation of these users. What they kept is deleted only if the block succeeds."""
    threads = batch_threads()
    fix_threads(threads)  # this process computes as its workers do
    with ray_cluster(address, threads, workers) as cluster:
        asking = AskingWorkers(
            run, dataset, part, cluster.execute, threads=threads, max_users=max_users, users=users
        )
        yield asking
        asking.remove()


def recommend_on_ray(batch: RecommendAll, address: str, workers: int | None) -> bool:
    """As `RecommendAll.make`; the cluster is started only where something is left to do."""
    if batch.is_made():
        return False
    with ray_cluster(address, batch.job.threads, workers) as cluster:
        return batch.make(cluster.execute)
