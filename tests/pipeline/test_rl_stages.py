"""Both RL stages on a tiny run: what they leave behind, and that interruptions change nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from deeprec.disk import append_jsonl, read_jsonl
from deeprec.errors import ConfigError, RunError, TrainingError
from deeprec.rewards.mixture import PARTS
from deeprec.run import Run

LOGGED = {
    *(f"reward/{part}" for part in PARTS),
    *("reward", "validity", "retrievals", "tokens", "response_tokens", "entropy", "clip_fraction"),
    *("groups_without_signal", "grad_norm", "loss", "preference_diversity", "commonest_preference"),
    *("distinct_preferences", "pool_recall", "hit_rate", "seconds/rollout", "seconds/training"),
    *("truncated", "repetition", "repeated_lines", "preference_entropy", "preference_entropy_share"),
    *("preference_information", "preference_information_share"),
    *("stop/finished", "stop/no_list", "stop/empty_preference", "learning_rate"),
}


def rows(file: Path, stage: str) -> list[dict]:
    return [row for row in read_jsonl(file) if row["stage"] == stage]


def weights(run: Run, stage: str) -> dict[str, np.ndarray]:
    return load_file(run.policy(stage) / "model.safetensors")


def test_both_stages_leave_policies_and_logs(copy_run, load_parts):
    from deeprec.policy.loading import load_policy
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.cold_start.steps=2", "rl.evaluate_every=2")
    parts = load_parts(run)
    evaluated = []

    def evaluate(environment):
        evaluated.append(environment)
        return {"heldout/ndcg@10": 0.25}

    run_rl(run, *parts, "cold_start", evaluate)
    run_rl(run, *parts, "recommendation", evaluate)
    assert len(evaluated) == 4  # before each stage, and after its second iteration
    assert evaluated[0] is evaluated[1] is not evaluated[2]  # a stage builds one, and evaluates in it
    for stage in ("cold_start", "recommendation"):
        found = rows(run.metrics, stage)
        assert [row["step"] for row in found] == [0, 1, 2]
        assert found[0]["heldout/ndcg@10"] == found[2]["heldout/ndcg@10"] == 0.25
        assert set(found[1]) >= LOGGED
        assert all(math.isfinite(value) for row in found for key, value in row.items() if key != "stage")
        assert len(rows(run.trajectories, stage)) == 4  # two of each iteration
        assert (run.policy(stage) / "tokenizer.json").is_file()
        load_policy(str(run.policy(stage)), run.config.policy)
    assert list((run.folder / "tensorboard").glob("events*"))
    assert not list((run.folder / "policy").glob("*.checkpoints"))
    record = run.finished()["recommendation"]
    assert record["selection"]["recommendation_examples"] > 0
    before, after = weights(run, "warm_start"), weights(run, "recommendation")
    assert any((before[name] != after[name]).any() for name in before)

    made = (run.policy("recommendation") / "model.safetensors").stat().st_mtime_ns
    run_rl(run, *parts, "recommendation", evaluate)
    assert (run.policy("recommendation") / "model.safetensors").stat().st_mtime_ns == made
    assert len(evaluated) == 4


def test_masked_lists_are_trained_by_their_own_distribution(copy_run, load_parts, monkeypatch):
    from deeprec.evaluation.heldout import build_heldout
    from deeprec.pipeline import build_deeprec
    from deeprec.rl.stage import run_rl
    from deeprec.rl.warm_start import run_warm_start
    from deeprec.rollout.list_prior import KEY

    settings = ("rollout.list=masked", "warm_start.reading_epochs=2", "warm_start.script_steps=150")
    stage_two = ("steps=2", "pull=0.3", "patience=3", "learning_rate=1e-3")
    run = copy_run(
        "run",
        *settings,
        "rl.cold_start.steps=1",
        *(f"rl.recommendation.{change}" for change in stage_two),
        "rl.evaluate_every=1",
        "rl.users_per_step=8",
    )
    dataset, trm = load_parts(run)
    run_warm_start(run, dataset, trm)
    for stage in ("cold_start", "recommendation"):
        run_rl(run, dataset, trm, stage, build_heldout(run, dataset, trm, stage))
    logged = [row for row in rows(run.metrics, "recommendation") if "list/ratio" in row]
    assert logged
    assert all(row["list/ratio"] == pytest.approx(1.0, abs=1e-5) for row in logged)  # on-policy, one update
    assert all(row["list/entropy"] > 0 for row in logged)
    assert logged[0]["pull"] == pytest.approx(0.0, abs=1e-6)  # nothing pulls before the first step
    assert logged[-1]["pull"] > 0
    kept = json.loads((run.policy("recommendation") / "config.json").read_text())
    assert {"asked", "plain"} == kept[KEY].keys()
    deeprec = build_deeprec(run, dataset, trm)
    found = deeprec.recommend(dataset.examples("validation"), 3)
    valid = [one.trajectory for one in found if one.trajectory is not None and one.trajectory.is_valid]
    assert valid
    assert all(one.draw is not None and set(one.ranking) <= set(one.draw.pool) for one in valid)


@pytest.mark.parametrize("updates", [1, 2])
def test_an_interrupted_stage_ends_as_the_uninterrupted_one(copy_run, load_parts, updates):
    from deeprec.rl.stage import run_rl

    settings = (f"rl.updates_per_step={updates}", "rl.evaluate_every=3")
    straight = copy_run("straight", *settings)
    run_rl(straight, *load_parts(straight), "cold_start", lambda *_: {"heldout/x": 1.0})

    calls = iter((None, KeyboardInterrupt(), None, None))  # the second falls into iteration 3 of 4

    def interrupt(*_):
        problem = next(calls)
        if problem is not None:
            raise problem
        return {"heldout/x": 1.0}

    stopped = copy_run("stopped", *settings)
    parts = load_parts(stopped)
    with pytest.raises(KeyboardInterrupt):
        run_rl(stopped, *parts, "cold_start", interrupt)
    assert not stopped.policy("cold_start").exists()
    assert "cold_start" not in stopped.finished()
    run_rl(stopped, *parts, "cold_start", interrupt)

    expected, found = weights(straight, "cold_start"), weights(stopped, "cold_start")
    for name in expected:
        np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
    for file in ("metrics.jsonl", "trajectories.jsonl"):
        one, other = (rows(run.folder / file, "cold_start") for run in (straight, stopped))
        assert [row["step"] for row in one] == [row["step"] for row in other]
        for left, right in zip(one, other, strict=True):
            timeless = [{k: v for k, v in row.items() if "seconds" not in k} for row in (left, right)]
            assert timeless[0] == timeless[1]


def test_killed_after_the_last_iteration_nothing_is_trained_twice(copy_run, load_parts, monkeypatch):
    from deeprec.policy import loading
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.cold_start.steps=3")
    parts = load_parts(run)
    trained = []

    def save_nothing(model, *_):
        trained.append({name: value.clone() for name, value in model.state_dict().items()})
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loading, "save_policy", save_nothing)
        with pytest.raises(KeyboardInterrupt):
            run_rl(run, *parts, "cold_start")
    assert not run.policy("cold_start").exists()
    run_rl(run, *parts, "cold_start")
    assert [row["step"] for row in rows(run.metrics, "cold_start")] == [1, 2, 3]
    for name, value in weights(run, "cold_start").items():
        np.testing.assert_array_equal(value, trained[0][name].numpy(), err_msg=name)


def test_a_checkpoint_that_was_cut_short_is_not_used(tmp_path):
    from deeprec.rl.callbacks import latest_checkpoint

    for step in (2, 4, 10):
        (tmp_path / f"checkpoint-{step}").mkdir()
    for step in (2, 4):
        (tmp_path / f"checkpoint-{step}" / "complete.json").write_text(f'{{"step": {step}, "files": {{}}}}')
    assert latest_checkpoint(tmp_path) == (tmp_path / "checkpoint-4", 4)
    assert not (tmp_path / "checkpoint-10").exists()


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (["rl.cold_start.weights={formt=1.0}"], ConfigError, r"rl\.cold_start\.weights.*'formt'.*'format'"),
        (["rollout.temperature=0"], ConfigError, "training must sample"),
        (["rl.updates_per_step=3"], ConfigError, "rl.updates_per_step = 3 doesn't divide .* 16 trajectories"),
        (["selection.stage_one_share=0"], TrainingError, "no examples for stage 'cold_start'"),
    ],
)
def test_settings_that_make_no_sense(copy_run, load_parts, overrides, error, message):
    from deeprec.rl.stage import run_rl

    run = copy_run("run", *overrides)
    with pytest.raises(error, match=message):
        run_rl(run, *load_parts(run), "cold_start")


def test_stage_two_needs_stage_one(copy_run, load_parts):
    from deeprec.rl.stage import run_rl

    run = copy_run()
    with pytest.raises(RunError, match="'cold_start' has not been run; run `deeprec train"):
        run_rl(run, *load_parts(run), "recommendation")


def test_no_steps_hand_the_policy_on(copy_run, load_parts):
    from deeprec.rl.stage import run_rl

    run = copy_run("run", "rl.cold_start.steps=0")
    append_jsonl(run.metrics, {"stage": "recommendation", "step": 1})  # of a policy that is replaced now
    run_rl(run, *load_parts(run), "cold_start")
    assert not rows(run.metrics, "recommendation")
    assert rows(run.metrics, "warm_start")
    before, after = weights(run, "warm_start"), weights(run, "cold_start")
    assert all((before[name] == after[name]).all() for name in before)
