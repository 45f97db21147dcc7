"""What goes wrong in an RL stage: each is named, nothing is lost, and the stage can go on."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from file_limits import files_up_to
from safetensors.numpy import load_file

from deeprec.data.format import read_dataset
from deeprec.disk import read_jsonl, write_jsonl
from deeprec.errors import PolicyError, RewardError, TrainingError
from deeprec.run import Run
from deeprec.trm.stage import load_trm


def rows(file: Path, stage: str = "cold_start") -> list[dict]:
    return [row for row in read_jsonl(file) if row["stage"] == stage]


def weights(run: Run, stage: str = "cold_start") -> dict[str, np.ndarray]:
    return load_file(run.policy(stage) / "model.safetensors")


def timeless(run: Run) -> list[dict]:
    found = [row for row in rows(run.metrics) if "reward" in row]
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in found]


@pytest.fixture(scope="module")
def straight(warm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A stage that nothing disturbed, made once: tests compare with it, and leave it alone."""
    from deeprec.rl.stage import run_rl

    folder = tmp_path_factory.mktemp("straight") / "run"
    shutil.copytree(warm_run, folder)
    run = Run.open(folder)
    dataset = read_dataset(run.data)
    run_rl(run, dataset, load_trm(run, dataset), "cold_start")
    return run


def assert_ends_as(run: Run, other: Run) -> None:
    expected, found = weights(other), weights(run)
    for name in expected:
        np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
    assert timeless(run) == timeless(other)


def test_a_reward_that_is_not_a_number_stops_is_saved_and_can_be_resumed(
    copy_run, load_parts, monkeypatch, straight
):
    from deeprec.rewards import mixture
    from deeprec.rl.sampling import Sampler
    from deeprec.rl.stage import run_rl

    run = copy_run()
    sample = Sampler.sample

    def break_the_third(self, positions, step, rank=0):
        with monkeypatch.context() as patch:
            if step == 3:
                patch.setattr(mixture, "similarity_reward", lambda *_, **__: math.nan)
            return sample(self, positions, step, rank)

    with monkeypatch.context() as patch:
        patch.setattr(Sampler, "sample", break_the_third)
        with pytest.raises(
            RewardError, match=r"'similarity' gave nan for user '.+', rollout \d; saved to failed"
        ):
            run_rl(run, *load_parts(run), "cold_start")
    (saved,) = read_jsonl(run.folder / "failed.jsonl")
    assert saved["part"] == "similarity"
    assert len(saved["lines"]) == 3
    assert "cold_start" not in run.finished()
    assert [row["step"] for row in rows(run.metrics)] == [1, 2]  # no row, so no zero, for the third
    run_rl(run, *load_parts(run), "cold_start")
    assert_ends_as(run, straight)


def test_a_loss_that_is_not_a_number_stops(copy_run, load_parts, monkeypatch):
    from deeprec.rl import whitening
    from deeprec.rl.stage import run_rl

    run = copy_run()
    monkeypatch.setattr(whitening, "whiten", lambda advantages, sampled, sums: advantages * np.nan)
    with pytest.raises(TrainingError, match=r"'cold_start': the loss is nan after step 0.*rl\.learning_rate"):
        run_rl(run, *load_parts(run), "cold_start")
    assert "cold_start" not in run.finished()


def test_a_gradient_that_is_not_a_number_stops_before_it_is_saved(copy_run, load_parts, monkeypatch):
    from deeprec.rl import trainer
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.save_every=1")
    score = trainer.score_sampled

    def steep(*arguments):
        # The values stay as they are; the gradient is infinite times zero.
        scores = score(*arguments)
        zero = (scores.log_probabilities - scores.log_probabilities.detach()).abs()
        return replace(scores, log_probabilities=scores.log_probabilities + zero.sqrt() * 0.0)

    monkeypatch.setattr(trainer, "score_sampled", steep)
    with pytest.raises(
        TrainingError, match=r"grad_norm is not a finite number at iteration 1; no checkpoint"
    ):
        run_rl(run, *load_parts(run), "cold_start")
    assert not list((run.folder / "policy").glob("cold_start.checkpoints/*/checkpoint-*"))


def too_much() -> None:
    torch.empty(2**58)


def full() -> None:
    raise OSError(28, "No space left on device")


def no_room_on_the_card() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize(
    ("fail", "message"),
    [
        (full, r"cold_start\.checkpoints.*: can't be written \(No space left.*free some"),
        (
            no_room_on_the_card,
            r"out of memory; lower rl\.trajectories_per_pass \(8 .*rollout\.users_per_batch",
        ),
        (too_much, r"out of memory; lower rl\.trajectories_per_pass \(8 .*rollout\.users_per_batch"),
    ],
)
def test_what_runs_out_is_named(copy_run, load_parts, monkeypatch, fail, message):
    from deeprec.rl.stage import run_rl
    from deeprec.rl.trainer import DeepRecTrainer

    run = copy_run()
    monkeypatch.setattr(DeepRecTrainer, "_save_checkpoint", lambda *_: fail())
    with pytest.raises(TrainingError, match=message):
        run_rl(run, *load_parts(run), "cold_start")
    assert "cold_start" not in run.finished()


def test_a_disk_that_is_full_for_the_trajectories_says_so_and_the_stage_goes_on(
    copy_run, load_parts, straight
):
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.save_every=1")
    record = {"stage": "earlier", "text": "x" * 1000}
    write_jsonl(run.trajectories, [record] * 4000)  # larger than any other file of the run
    room = run.trajectories.stat().st_size + 6000  # for the records of some iterations
    with (
        files_up_to(room),
        pytest.raises(
            TrainingError, match=rf"^{run.trajectories}: can't be written \(File too large\); .*goes on"
        ),
    ):
        run_rl(run, *load_parts(run), "cold_start")
    assert [row["step"] for row in rows(run.metrics)][-1] < 4
    run_rl(run, *load_parts(run), "cold_start")
    assert_ends_as(run, straight)


def test_iterations_in_which_all_fail_teach_nothing_and_break_nothing(copy_run, load_parts):
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rollout.segment_tokens=1")
    run_rl(run, *load_parts(run), "cold_start")
    found = rows(run.metrics)
    assert [row["step"] for row in found] == [1, 2, 3, 4]
    assert all(row["validity"] == 0.0 and row["groups_without_signal"] == 1.0 for row in found)
    assert all(math.isfinite(value) for row in found for key, value in row.items() if key != "stage")
    before, after = weights(run, "warm_start"), weights(run)
    assert all((before[name] == after[name]).all() for name in before)


def test_a_stage_that_collapses_stops_keeps_the_good_and_does_not_loop(copy_run, load_parts, caplog):
    """A real collapse: at this learning rate one update ruins the policy."""
    from deeprec.policy.loading import load_policy
    from deeprec.rl.stage import run_rl

    settings = ("rl.cold_start.steps=9", "rl.save_every=1", "rl.collapse_steps=3")
    run = copy_run("run", "rl.cold_start.learning_rate=0.1", *settings)
    parts = load_parts(run)
    with pytest.raises(TrainingError) as caught:
        run_rl(run, *parts, "cold_start")
    message = str(caught.value)
    found = rows(run.metrics)
    last = found[-1]["step"]
    assert last < 9
    assert f"'cold_start' collapsed at iteration {last}: next to no trajectory is valid" in message
    assert "each of the last 3 iterations, below rl.collapse.validity = 0.05)" in message
    assert "lower rl.learning_rate" in message
    good = max(row["step"] for row in found if row["validity"] >= 0.05)
    (folder,) = (run.folder / "policy" / "cold_start.checkpoints").iterdir()
    assert f"of iteration {good}, is kept at {folder / f'checkpoint-{good}'}" in message
    load_policy(str(folder / f"checkpoint-{good}"), run.config.policy)  # an ordinary model folder
    assert not (folder / f"checkpoint-{last}").exists()

    with pytest.raises(
        TrainingError, match="an earlier attempt with the same settings, which would end alike"
    ):
        run_rl(run, *parts, "cold_start")
    assert rows(run.metrics) == found  # it was refused, not tried again
    assert "cold_start" not in run.finished()

    patient = Run(run.folder, run.config.model_copy(deep=True, update={
        "rl": run.config.rl.model_copy(update={"collapse": {"entropy": 0.01}}),
    }))  # fmt: skip
    run_rl(patient, *parts, "cold_start")  # other limits: it goes on from the good checkpoint
    assert [row["step"] for row in rows(run.metrics)] == list(range(1, 10))
    assert not caplog.records


@pytest.mark.parametrize(
    ("limit", "figure", "remedy"),
    [
        ("collapse={entropy = 50}", "no longer varies what it writes (entropy", "raise rollout.temperature"),
        ("collapse={repetition = 0}", "repeats itself (repetition", "rambling ends sooner"),
    ],
)
def test_each_symptom_stops_a_stage(copy_run, load_parts, limit, figure, remedy):
    from deeprec.rl.stage import run_rl

    # The repeating policy of this small run: short names, and room to ramble.
    run = copy_run("run", f"rl.{limit}", "rl.collapse_steps=2", "rollout.segment_tokens=100")
    with pytest.raises(TrainingError) as caught:
        run_rl(run, *load_parts(run), "cold_start")
    assert "collapsed at iteration 2" in str(caught.value)
    assert figure in str(caught.value)
    assert remedy in str(caught.value)


def interrupt_at(number):
    """An evaluator that is interrupted when it is called for the `number`th time."""
    calls = iter(range(1, 100))

    def evaluate(*_):
        if next(calls) == number:
            raise KeyboardInterrupt
        return {}

    return evaluate


def test_checkpoints_of_other_settings_are_left_alone(copy_run, load_parts, caplog, straight):
    from deeprec.config import override_config
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.evaluate_every=1")
    other = Run(run.folder, override_config(run.config, ["rl.learning_rate=5e-4"]))
    parts = load_parts(run)
    with pytest.raises(KeyboardInterrupt):
        run_rl(run, *parts, "cold_start", interrupt_at(4))  # of iteration 3, after the checkpoint of 2
    assert not caplog.records
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        run_rl(other, *parts, "cold_start", interrupt_at(4))
    (record,) = caplog.records
    assert "checkpoint-2 was made with other settings or data and is not used. It is kept" in record.message
    run_rl(run, *parts, "cold_start")
    assert_ends_as(run, straight)
    assert not list((run.folder / "policy").glob("*.checkpoints"))


def test_who_follows_the_advice_for_too_little_memory_loses_nothing(
    copy_run, load_parts, caplog, monkeypatch
):
    """Every setting that the message names is changed; the stage goes on, the warm start stays, both remain current."""
    from deeprec.config import override_config
    from deeprec.rl.stage import run_rl
    from deeprec.rl.trainer import DeepRecTrainer
    from deeprec.rl.warm_start import run_warm_start

    run = copy_run()
    dataset, trm = load_parts(run)
    save = DeepRecTrainer._save_checkpoint

    def save_the_first(self, *arguments):
        if self.state.global_step > 2:
            no_room_on_the_card()
        save(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(DeepRecTrainer, "_save_checkpoint", save_the_first)
        with pytest.raises(TrainingError, match="goes on from its last") as caught:
            run_rl(run, dataset, trm, "cold_start")
    advice = {
        "rl.trajectories_per_pass": "4", "rl.gradient_checkpointing": "true", "rollout.users_per_batch": "3",
    }  # fmt: skip
    assert set(re.findall(r"\b(?:rl|rollout)\.\w+", str(caught.value))) == set(advice)
    followed = Run.create(
        run.folder, override_config(run.config, [f"{key}={value}" for key, value in advice.items()])
    )
    begun = rows(run.metrics)[:2]  # before the checkpoint
    run_rl(followed, dataset, trm, "cold_start")
    assert not caplog.records  # no word of checkpoints that are not used, or of a stage that is made again
    assert rows(run.metrics)[:2] == begun
    assert [row["step"] for row in rows(run.metrics)] == [1, 2, 3, 4]

    made = {stage: followed.finished()[stage]["time"] for stage in ("warm_start", "cold_start")}
    run_warm_start(followed, dataset, trm)
    run_rl(followed, dataset, trm, "cold_start")
    assert {stage: followed.finished()[stage]["time"] for stage in made} == made
    other = override_config(followed.config, ["rl.trajectories_per_pass=8", "rl.save_every=1"])
    run_rl(Run(run.folder, other), dataset, trm, "cold_start")
    assert followed.finished()["cold_start"]["time"] == made["cold_start"]


@pytest.mark.parametrize(
    "setting", ["rl.trajectories_per_pass=4", "rl.gradient_checkpointing=true", "rollout.users_per_batch=3"]
)
def test_what_changes_speed_alone_trains_the_same_policy(copy_run, load_parts, straight, setting):
    from deeprec.rl.stage import run_rl

    run = copy_run("run", setting)
    run_rl(run, *load_parts(run), "cold_start")
    expected, found = weights(straight), weights(run)
    for name in expected:
        np.testing.assert_allclose(expected[name], found[name], atol=2e-4, err_msg=name)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("before", [0, 1])
def test_a_damaged_checkpoint_is_told_and_the_one_before_goes_on(
    copy_run, load_parts, caplog, straight, file, before
):
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.evaluate_every=1", f"rl.save_every={2 - before}")
    parts = load_parts(run)
    with pytest.raises(KeyboardInterrupt):
        run_rl(run, *parts, "cold_start", interrupt_at(4))
    (damaged,) = (run.folder / "policy").glob(f"cold_start.checkpoints/*/checkpoint-2/{file}")
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        run_rl(run, *parts, "cold_start", interrupt_at(9))
    assert f"{damaged} has 1000 bytes" in caplog.text
    assert "put aside, and training goes on from the checkpoint before" in caplog.text
    assert_ends_as(run, straight)


def test_a_context_that_cant_hold_the_prompt_or_a_list_is_refused_at_once(copy_run, load_parts):
    from deeprec.policy.loading import load_policy
    from deeprec.rl.context import check_context
    from deeprec.rl.selection import select
    from deeprec.rl.stage import build_sampler, run_rl
    from deeprec.rollout.engines.local import LocalEngine

    run = copy_run("run", "rollout.response_tokens=8")
    dataset, trm = load_parts(run)
    with pytest.raises(
        PolicyError,
        match=r"'cold_start': a list of 3 items and the final one of 3 have \d+ tokens or more.*retrieved",
    ):
        run_rl(run, dataset, trm, "cold_start")
    assert not rows(run.metrics)

    run = copy_run("other")
    policy = load_policy(str(run.policy("warm_start")), run.config.policy)
    selection = select(dataset, trm, run.config.selection, 0)
    sampler = build_sampler(run, dataset, trm, policy, "cold_start", selection)
    check_context(sampler, run.config.policy)
    engine = LocalEngine(policy.model, seed=0, context_length=8)
    sampler.environment = dataclasses.replace(sampler.environment, engine=engine)
    with pytest.raises(
        PolicyError,
        match=r"user '.+': the prompt has \d+ tokens, and the policy reads 8 at most; .* or raise policy\.context",
    ):
        check_context(sampler, run.config.policy)
    loaded = run.config.policy.model_copy(update={"model": "models/short"})
    with pytest.raises(PolicyError, match=r"reads 8 at most.* a longer context than 'models/short' has$"):
        check_context(sampler, loaded)
