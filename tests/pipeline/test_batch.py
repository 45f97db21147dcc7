"""Everybody's recommendations, in shards: complete, resumable, and the same however they are cut short."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from conftest import CopyRun

from deeprec.batch.answers import from_bytes, to_bytes
from deeprec.batch.evaluate import AskingWorkers
from deeprec.batch.recommend import RecommendAll, RecommendJob
from deeprec.batch.tasks import Done, Job, Task, execute_here
from deeprec.cli import main
from deeprec.data.format import read_dataset
from deeprec.data.shards import read_shard, shard_bounds
from deeprec.errors import DeepRecError, RunError, RunLocked
from deeprec.evaluation.asking import AskingHere
from deeprec.evaluation.stage import evaluate_run
from deeprec.locks import hold
from deeprec.pipeline import build_deeprec, build_recommenders, load_stages
from deeprec.recommender import Recommendation
from deeprec.run import Run
from deeprec.types import Trajectory

SHARD = 16  # 60 users: four shards, the last one smaller


class Killed(BaseException):
    """What a kill looks like from within."""


def killed_after(count: int) -> Callable[[Job, Sequence[Task]], Iterator[Done]]:
    """Does so many tasks, the last ones first, and dies."""

    def execute(job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
        worker = job.open()
        for number, task in enumerate(reversed(tasks)):
            if number == count:
                raise Killed
            yield task, worker.work(task)

    return execute


@pytest.fixture(scope="module")
def lists(warm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everybody's lists, made at one go."""
    output = tmp_path_factory.mktemp("batch") / "lists.parquet"
    assert RecommendAll.of(Run.open(warm_run), output, shard=SHARD).make()
    return output


def test_everybody_gets_what_one_user_gets_who_is_asked_for_with_the_same_others(
    lists: Path, warm_run: Path
) -> None:
    run = Run.open(warm_run)
    dataset, trm = load_stages(run)
    recommender = build_deeprec(run, dataset, trm, fill_in=True)
    users = dataset.user_ids
    frame = pl.read_parquet(lists)
    assert frame["user_id"].unique(maintain_order=True).to_list() == users
    expected = [
        (user, rank, dataset.catalog[item].item_id, dataset.catalog[item].label, found.source, found.reason)
        for start in range(0, len(users), SHARD)
        for user, found in zip(
            users[start : start + SHARD],
            recommender.recommend([dataset.known_history(u) for u in users[start : start + SHARD]], 3),
            strict=True,
        )
        for rank, item in enumerate(found.ranking, 1)
    ]
    assert frame.rows() == expected
    assert frame.height == 3 * 60  # nobody's list is short


def test_what_was_killed_goes_on_and_ends_as_if_nothing_had_happened(
    lists: Path, warm_run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "lists.parquet"
    batch = RecommendAll.of(Run.open(warm_run), output, shard=SHARD)
    with pytest.raises(Killed):
        batch.make(killed_after(2))
    assert not output.exists()
    assert [task.number for task in batch.parts.missing()] == [0, 1]
    done: list[int] = []

    def watched(job: Job, tasks: Sequence[Task]) -> Iterator[Done]:
        for task, content in execute_here(job, tasks):
            done.append(task.number)
            yield task, content

    assert RecommendAll.of(Run.open(warm_run), output, shard=SHARD).make(watched)
    assert done == [0, 1]
    assert output.read_bytes() == lists.read_bytes()
    assert [entry.name for entry in tmp_path.iterdir()] == ["lists.parquet"]
    assert not RecommendAll.of(Run.open(warm_run), output, shard=SHARD).make()  # it is there


def test_parts_and_outputs_of_another_batch_are_refused_and_stay(warm_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "lists.parquet"
    run = Run.open(warm_run)
    with pytest.raises(Killed):
        RecommendAll.of(run, output, shard=SHARD).make(killed_after(1))
    parts = sorted(entry.name for entry in (tmp_path / "lists.parquet.parts").iterdir())
    with pytest.raises(RunError, match=r"lists\.parquet\.parts: holds parts of another batch"):
        RecommendAll.of(run, output, k=2, shard=SHARD).make()
    assert sorted(entry.name for entry in (tmp_path / "lists.parquet.parts").iterdir()) == parts
    output.write_bytes(b"mine")
    with pytest.raises(RunError, match=r"lists\.parquet: is there already, and not of this policy"):
        RecommendAll.of(run, output, shard=SHARD).make()
    assert output.read_bytes() == b"mine"


def test_a_run_that_changes_meanwhile_is_noticed(copy_run: CopyRun, tmp_path: Path) -> None:
    run = copy_run()
    job = RecommendAll.of(run, tmp_path / "lists.parquet").job
    run.record("warm_start", {**run.finished()["warm_start"], "inputs": "another policy"})
    with pytest.raises(RunError, match="was changed since this batch began"):
        job.open()


def test_two_batches_for_one_file_don_t_mix(warm_run: Path, tmp_path: Path) -> None:
    output = tmp_path / "lists.parquet"
    batch = RecommendAll.of(Run.open(warm_run), output)
    script = (
        "import sys, time; from pathlib import Path; from deeprec.locks import hold\n"
        "with hold(Path(sys.argv[1]), Path('x')):\n    print('held', flush=True); time.sleep(60)"
    )
    import subprocess

    command = [sys.executable, "-c", script, str(batch.parts.folder / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(RunLocked, match=str(other.pid)):
            batch.make()
        other.kill()
    with hold(batch.parts.folder / "lock", output):
        pass


def test_users_are_read_from_the_file_shard_by_shard(warm_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.open(warm_run)
    whole = read_dataset(run.data)
    sizes = {user: len(whole.known_history(user).history) for user in whole.user_ids}
    for rows in (1_000_000, 7, 1):  # slices that end within users, and between them
        monkeypatch.setattr("deeprec.data.shards._SLICE", rows)
        for size in (1, 7, 60, 100):
            bounds, users = shard_bounds(run.data, size)
            assert users == 60
            assert len(bounds) == -(-60 // size) + 1
            assert bounds[-1] == sum(sizes.values())
    bounds, _ = shard_bounds(run.data, 7)
    found = [read_shard(whole, run.data, *pair) for pair in pairwise(bounds)]
    assert [user for part in found for user in part.user_ids] == whole.user_ids
    assert [len(part.user_ids) for part in found] == [7] * 8 + [4]
    for part in found:
        for user in part.user_ids:
            assert part.known_history(user) == whole.known_history(user)


def test_answers_come_back_to_the_last_bit(warm_run: Path) -> None:
    run = Run.open(warm_run)
    dataset, trm = load_stages(run)
    recommender = build_deeprec(run, dataset, trm)
    examples = dataset.examples("test")[:5]
    answers = recommender.recommend(examples, 3)
    assert from_bytes(to_bytes(answers), Recommendation) == answers
    sampled = recommender.sample(examples)
    assert from_bytes(to_bytes(sampled), Trajectory) == sampled
    unknown = [replace(sampled[0], logprobs=(float("nan"),))]
    assert str(from_bytes(to_bytes(unknown), Trajectory)) == str(unknown)


def test_an_evaluation_by_workers_is_that_of_one_process(copy_run: CopyRun) -> None:
    run = copy_run("run", "evaluation.sampled=true")
    dataset, trm = load_stages(run)
    methods = ["trm", "warm_start"]

    def made(asking: AskingHere | AskingWorkers) -> object:
        recommenders = list(build_recommenders(run, methods, (dataset, trm)).values())
        config = run.config.evaluation.model_copy(update={"max_users": 40})
        result = evaluate_run(run, dataset, trm, recommenders, "test", config, asking=asking)
        columns = {
            (name, metric): values.tobytes()
            for name, own in result.per_user.items()
            for metric, values in own.items()
        }
        return columns, {name: [a.ranking for a in found] for name, found in result.recommendations.items()}

    alone = made(AskingHere(SHARD))
    options = {"threads": 1, "max_users": 40, "size": SHARD}
    with pytest.raises(Killed):
        made(AskingWorkers(run, dataset, "test", killed_after(2), **options))
    left = [file.name for file in (run.folder / "evaluation.parts").rglob("*.done")]
    assert len(left) == 2
    asking = AskingWorkers(run, dataset, "test", execute_here, **options)
    assert made(asking) == alone
    asking.remove()
    assert not (run.folder / "evaluation.parts").exists()


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--all-users",), ("--all-users needs --output",)),
        (("--all-users", "--user", "u1", "--output", "x.parquet"), ("--all-users stands alone",)),
        (("--user", "u1", "--output", "x.parquet"), ("--output x.parquet: belongs to --all-users",)),
        (("--user", "u1", "--ray"), ("--ray local: belongs to --all-users",)),
        (("--all-users", "--output", "x.parquet", "--workers", "2"), ("--workers 2: belongs to --ray",)),
        (("--all-users", "--output", "x.parquet", "-k", "25"), ("-k 25", "24 items")),
        (("--all-users", "--output", "x.parquet", "--stage", "cold_start"), ("stage 'cold_start'",)),
        (("--all-users", "--output", "run.toml/x.parquet"), ("run.toml/x.parquet: can't be written",)),
    ],
)
def test_bad_words_get_one_line(
    warm_run: Path,
    words: tuple[str, ...],
    parts: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(warm_run)
    before = sorted(Path().iterdir())
    monkeypatch.setattr(sys, "argv", ["deeprec", "recommend", "--run", ".", *words])
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(part in line for part in parts), line
    assert sorted(Path().iterdir()) == before


def test_a_worker_s_job_is_small_and_plain(warm_run: Path, tmp_path: Path) -> None:
    job = RecommendAll.of(Run.open(warm_run), tmp_path / "lists.parquet").job
    assert isinstance(job, RecommendJob)
    assert len(repr(job)) < 500
    with pytest.raises(DeepRecError):
        replace(job, folder=str(tmp_path)).open()
