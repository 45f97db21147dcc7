"""Batches on a real Ray cluster, started here: the same bytes, and nothing lost with a worker.

`make engines` installs Ray in an environment of its own and runs these; elsewhere they are skipped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import CopyRun

from deeprec.batch import cluster as clusters
from deeprec.batch.cluster import LOCAL, Cluster, ray_cluster
from deeprec.batch.evaluate import AskingWorkers
from deeprec.batch.recommend import RecommendAll
from deeprec.batch.tasks import Done, Job, Task, execute_here
from deeprec.cli import main
from deeprec.errors import ClusterError, ConfigError
from deeprec.pipeline import build_recommenders, load_stages
from deeprec.run import Run

ray = pytest.importorskip("ray", reason="Ray is not installed here; `make engines` runs this with it")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

SHARD = 8  # 60 users: eight shards
TASKS = tuple(Task(number, 1, number, number + 1) for number in range(6))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers can't import a test
    with ray_cluster(LOCAL, 1, 2) as started:
        yield started


def test_everybody_s_lists_are_those_of_one_process_though_a_worker_is_killed(
    cluster: Cluster, warm_run: Path, tmp_path: Path
) -> None:
    run = Run.open(warm_run)
    assert RecommendAll.of(run, tmp_path / "here.parquet", shard=SHARD).make()
    order: list[int] = []

    def watched(job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
        for place, (task, content) in enumerate(cluster.execute(job, tasks)):
            order.append(task.number)
            yield task, content
            if place in (0, 3):  # the other one is at work
                ray.kill(cluster._hands[place // 3])

    assert RecommendAll.of(run, tmp_path / "ray.parquet", shard=SHARD).make(watched)
    assert sorted(order) == list(range(8))
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "here.parquet").read_bytes()


def test_an_evaluation_is_that_of_one_process(cluster: Cluster, copy_run: CopyRun) -> None:
    run = copy_run()
    dataset, trm = load_stages(run)
    methods = build_recommenders(run, ["trm", "warm_start"], (dataset, trm))
    examples = sorted(dataset.examples("test"), key=lambda example: example.user_id)
    found = []
    for execute in (execute_here, cluster.execute):
        asking = AskingWorkers(run, dataset, "test", execute, threads=1, size=SHARD)
        found.append([asking.answers(method, examples, 3) for method in methods.values()])
        found[-1].append(asking.samples(methods["warm_start"], examples))
        asking.remove()
    assert found[0] == found[1]


@dataclass(frozen=True)
class Poison:
    """Its second task takes down whoever does it."""

    marker: str = ""

    def open(self) -> Poison:
        return self

    def work(self, task: Task) -> bytes:
        if task.number == 1:
            os._exit(1)
        return str(os.getpid()).encode()


@dataclass(frozen=True)
class Refused:
    """What it needs is not there."""

    def open(self) -> Refused:
        raise ConfigError("nothing here; bring it")


def test_a_task_that_takes_workers_down_ends_the_batch_and_others_are_kept(cluster: Cluster) -> None:
    done: list[int] = []
    results = (done.append(task.number) for task, _ in cluster.execute(Poison(), TASKS))
    with pytest.raises(ClusterError, match=r"shard 1 \(rows 1 to 2\) took 3 workers down"):
        list(results)
    assert 1 not in done
    assert done


def test_all_workers_take_part_and_a_refusal_comes_back_in_words(cluster: Cluster) -> None:
    tasks = [task for task in TASKS if task.number != 1] * 4
    assert len({content for _, content in cluster.execute(Poison(), tasks)}) == 2
    with pytest.raises(ClusterError, match=r"refused: ConfigError: nothing here; bring it"):
        list(cluster.execute(Refused(), TASKS))


def test_bad_addresses_and_versions_get_one_line(
    warm_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(clusters, "_PAUSE", 0.0)

    def said(address: str) -> str:
        words = ["recommend", "--run", warm_run, "--all-users", "--output", tmp_path / "x.parquet"]
        monkeypatch.setattr(sys, "argv", ["deeprec", *map(str, words), "--ray", address])
        with pytest.raises(SystemExit) as ending:
            main()
        assert ending.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    assert "127.0.0.1:1: can't be reached (Connection refused), tried 3 times" in said("127.0.0.1:1")
    assert "ray://127.0.0.1:1: can't be reached" in said("ray://127.0.0.1:1")
    assert "nowhere: is no address" in said("nowhere")
    monkeypatch.setattr(clusters.metadata, "version", lambda name: "2.9.3")
    assert "ClusterError: Ray 2.9.3 is installed, 2.60 or newer and below 3 is needed" in said("local")
    assert list(tmp_path.iterdir()) == []
