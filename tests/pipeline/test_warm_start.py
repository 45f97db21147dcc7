"""The warm start of a small run: a policy that loads and speaks, made once."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import deeprec.rl.warm_start
from deeprec.config import override_config
from deeprec.disk import read_jsonl
from deeprec.doctor import inspect_run
from deeprec.errors import RunError, TrainingError
from deeprec.ledger import read_ledger
from deeprec.policy.environment import build_environment
from deeprec.policy.loading import load_policy
from deeprec.rl.documents import Document, fact_documents, history_documents
from deeprec.rl.supervised import batched_by_length
from deeprec.rl.warm_start import run_warm_start
from deeprec.rollout.runner import run_episodes
from deeprec.run import Run

CopyRun = Callable[..., Run]
LoadParts = Callable[[Run], tuple]
FEW = "warm_start.script_steps=8"


def rows(run: Run) -> list[dict]:
    return [row for row in read_jsonl(run.metrics) if row.get("stage") == "warm_start"]


def weights(run: Run) -> bytes:
    return (run.policy("warm_start") / "model.safetensors").read_bytes()


def test_the_policy_loads_and_speaks(
    copy_run: CopyRun, load_parts: LoadParts, capfd: pytest.CaptureFixture[str]
) -> None:
    run = copy_run()
    policy = load_policy(str(run.policy("warm_start")), run.config.policy)
    dataset, trm = load_parts(run)
    environment = build_environment(run, dataset, trm, policy)
    done = run_episodes(dataset.examples("validation")[:32], environment, greedy=True)
    assert sum(t.is_valid for t in done) >= 24
    assert "".join(capfd.readouterr()) == ""
    record = run.finished()["warm_start"]
    assert record["parameters"] == sum(weight.numel() for weight in policy.model.parameters())


def test_the_loss_is_on_record(copy_run: CopyRun) -> None:
    found = rows(copy_run())
    assert found[-1]["loss"] < found[0]["loss"]
    steps = [row["step"] for row in found]
    assert steps == sorted(set(steps))


def test_a_second_call_does_nothing(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run()
    before = weights(run), run.finished(), run.metrics.read_bytes()
    run_warm_start(run, *load_parts(run))
    assert (weights(run), run.finished(), run.metrics.read_bytes()) == before


def test_another_setting_runs_again(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run("run", FEW, "warm_start.text_epochs=1")
    before, record = weights(run), run.finished()["warm_start"]
    run_warm_start(run, *load_parts(run))
    assert weights(run) != before
    assert run.finished()["warm_start"]["inputs"] != record["inputs"]
    found = rows(run)
    # Texts come on top of the scripts, in the same steps; the former rows are gone.
    assert 8 < max(row["step"] for row in found) < 60
    assert not (run.folder / "policy" / "warm_start.checkpoints").exists()


def test_texts_and_scripts_are_one_mixture(
    copy_run: CopyRun, load_parts: LoadParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fit on both: a policy that read the histories first had unlearned to copy titles."""
    calls: list[tuple[list[Document], dict]] = []

    def record(model: object, documents: list[Document], **rest: object) -> None:
        calls.append((documents, rest))

    monkeypatch.setattr(deeprec.rl.warm_start, "fit_documents", record)
    run = copy_run("run", FEW, "warm_start.text_epochs=2")
    dataset, trm = load_parts(run)
    run_warm_start(run, dataset, trm)
    ((documents, rest),) = calls
    assert rest["epochs"] == 1
    codec = load_policy(str(run.policy("warm_start")), run.config.policy).codec
    texts = history_documents(dataset, codec, run.config.rollout) + fact_documents(dataset.catalog, codec)
    kinds = Counter(documents)
    assert all(kinds[text] >= 2 for text in texts)
    scripts = [document for document in documents if document not in set(texts)]
    assert 32 <= len(scripts) <= 64
    assert len(documents) == len(scripts) + 2 * len(texts)
    places = [
        n for n, one in enumerate(batched_by_length(documents, 8, run.config.seed)) if one in set(scripts)
    ]
    halves = Counter(place < len(documents) / 2 for place in places)
    assert min(halves[True], halves[False]) >= len(scripts) / 4


READ = ("rollout.list=masked", "warm_start.reading_epochs=3", FEW)


def test_reading_comes_first_and_is_on_record(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run("run", *READ)
    dataset, trm = load_parts(run)
    before = run.finished()["warm_start"]["inputs"]
    run_warm_start(run, dataset, trm)
    assert run.finished()["warm_start"]["inputs"] != before
    read = [row for row in read_jsonl(run.metrics) if row.get("stage") == "warm_start:reading"]
    assert [row["epoch"] for row in read] == [1, 2, 3]
    assert read[-1]["loss"] < read[0]["loss"]
    ledger = read_ledger(run, "warm_start")
    assert ledger is not None
    histories = {(example.user_id, example.history) for example in dataset.fit_histories()}
    assert histories <= {(row[0], tuple(row[1])) for row in ledger.iter_rows()}


def test_other_scripts_go_on_from_the_same_reading(
    copy_run: CopyRun, load_parts: LoadParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_run("run", *READ)
    parts = load_parts(run)
    run_warm_start(run, *parts)
    before, log = weights(run), run.metrics.read_bytes()
    again = Run.create(run.folder, override_config(run.config, ["warm_start.script_steps=9"]))

    def never(*_: object) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(deeprec.rl.warm_start, "read_histories", never)
        run_warm_start(again, *parts)
    assert weights(again) != before
    read = [row for row in read_jsonl(run.metrics) if row["stage"] == "warm_start:reading"]
    assert (
        again.finished()["warm_start"]["minutes"] > read[-1]["seconds"] / 60
    )  # what it needs, not what was left
    shutil.rmtree(again.policy("reading"))
    assert any("policy/reading" in problem for problem in inspect_run(again.folder).problems)
    run_warm_start(again, *parts)  # it is made again, though the stage had finished
    assert again.policy("reading").is_dir()
    other = Run.create(run.folder, override_config(run.config, ["warm_start.reading_epochs=2"]))
    run_warm_start(other, *parts)
    assert sum(b"warm_start:reading" in line for line in log.splitlines()) == 3
    assert sum(b"warm_start:reading" in line for line in other.metrics.read_bytes().splitlines()) == 2


def test_a_lost_policy_is_made_again_just_so(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run("run", FEW)
    run_warm_start(run, *load_parts(run))
    before = weights(run)
    run.policy("warm_start").rename(run.folder / "elsewhere")
    run_warm_start(run, *load_parts(run))
    assert weights(run) == before


def test_switched_off_it_saves_the_untrained_policy(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run("run", "warm_start.enabled=false")
    run_warm_start(run, *load_parts(run))
    assert run.last_policy() == run.policy("warm_start")


def test_an_interrupted_one_goes_on(
    copy_run: CopyRun, load_parts: LoadParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ("warm_start.text_epochs=1", "warm_start.script_steps=56", "warm_start.trajectories_per_step=2")
    whole, broken = copy_run("whole", *changes), copy_run("broken", *changes)
    run_warm_start(whole, *load_parts(whole))
    real = deeprec.rl.supervised.append_jsonl

    def fail(file: Path, record: dict) -> None:
        real(file, record)
        if record["step"] >= 52:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(deeprec.rl.supervised, "append_jsonl", fail)
        with pytest.raises(KeyboardInterrupt):
            run_warm_start(broken, *load_parts(broken))
    assert "warm_start" not in broken.finished()
    run_warm_start(broken, *load_parts(broken))
    assert weights(broken) == weights(whole)
    places = [[row["step"] for row in rows(run)] for run in (whole, broken)]
    assert places[0] == places[1] == sorted(set(places[0]))


def test_checkpoints_of_other_settings_are_left_alone(
    copy_run: CopyRun, load_parts: LoadParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that diverged is started anew after the learning rate was lowered."""
    changes = ("warm_start.script_steps=56", "warm_start.trajectories_per_step=2")
    run = copy_run("run", *changes, "warm_start.learning_rate=5e-2")

    def fail(file: Path, record: dict) -> None:
        if record["step"] >= 52:
            raise TrainingError("diverged")

    with monkeypatch.context() as patch:
        patch.setattr(deeprec.rl.supervised, "append_jsonl", fail)
        with pytest.raises(TrainingError):
            run_warm_start(run, *load_parts(run))
    calm = Run.create(run.folder, copy_run("fresh", *changes, "warm_start.learning_rate=1e-3").config)
    run_warm_start(calm, *load_parts(calm))
    fresh = Run.open(run.folder.parent / "fresh")
    run_warm_start(fresh, *load_parts(fresh))
    assert weights(calm) == weights(fresh)


def test_scripts_that_no_cap_lets_through(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run("run", FEW, "rollout.response_tokens=30")
    with pytest.raises(TrainingError, match=r"only 0 of 64 scripts are whole; raise rollout\.segment_tokens"):
        run_warm_start(run, *load_parts(run))
    assert "warm_start" not in run.finished()


def test_without_a_trm_it_says_what_to_run(copy_run: CopyRun, load_parts: LoadParts) -> None:
    run = copy_run()
    parts = load_parts(run)
    run.begin("trm")
    with pytest.raises(RunError, match="deeprec trm fit"):
        run_warm_start(run, *parts)
