"""Both RL stages on a tiny run: what they leave behind, and that interruptions change nothing."""

from __future__ import annotations

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


def test_the_reader_reranks_in_training_and_stays_as_it_had_read(copy_run, load_parts, monkeypatch):
    from deeprec.evaluation.heldout import build_heldout
    from deeprec.pipeline import build_deeprec
    from deeprec.policy import environment
    from deeprec.policy.loading import load_policy
    from deeprec.rl.stage import run_rl
    from deeprec.rl.warm_start import run_warm_start

    settings = ("rollout.answer=reranked", "warm_start.reading_epochs=2", "warm_start.script_steps=150")
    run = copy_run(
        "run", *settings, "rl.cold_start.steps=1", "rl.recommendation.steps=2", "rl.evaluate_every=1"
    )
    dataset, trm = load_parts(run)
    run_warm_start(run, dataset, trm)
    before = weights(run, "reading")
    read: list[str] = []  # from disk: once a stage, however often it is evaluated
    load = environment.load_policy
    monkeypatch.setattr(
        environment, "load_policy", lambda name, config: [read.append(name), load(name, config)][1]
    )
    for stage in ("cold_start", "recommendation"):
        run_rl(run, dataset, trm, stage, build_heldout(run, dataset, trm, stage))
        assert {"heldout/ndcg@10", "heldout/validity"} <= rows(run.metrics, stage)[-1].keys()
    assert read == 2 * [str(run.policy("reading"))]
    assert all((weights(run, "reading")[name] == before[name]).all() for name in before)
    assert any((weights(run, "warm_start")[name] != before[name]).any() for name in before)
    codec = load_policy(str(run.policy("recommendation")), run.config.policy).codec
    reader = environment.load_reader(run, dataset, codec)
    assert reader is not None
    examples = dataset.examples("validation")
    for found, example in zip(build_deeprec(run, dataset, trm).recommend(examples, 3), examples, strict=True):
        trajectory = found.trajectory
        if trajectory is None or not trajectory.is_valid:
            continue
        likely = dict(
            zip(
                trajectory.pool,
                reader.next_titles([example.history[-50:]], [trajectory.pool])[0],
                strict=True,
            )
        )
        shares: dict[int, float] = {}
        for turn in trajectory.turns:
            total = np.exp(turn.scores).sum()
            for item, score in zip(turn.retrieved, turn.scores, strict=True):
                shares[item] = max(shares.get(item, 0.0), float(np.exp(score) / total))
        values = [np.log(shares[item]) + likely[item] for item in trajectory.ranking]
        assert values == pytest.approx(sorted(values, reverse=True))


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
        (tmp_path / f"checkpoint-{step}" / "complete.json").write_text(f'{{"step": {step}}}')
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
