"""`deeprec train` on the tiny run, with real held-out evaluation."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from deeprec.disk import read_jsonl
from deeprec.errors import RunError, TrainingError


def test_train_runs_a_stage_and_says_what_it_did(copy_run):
    from deeprec.cli.app import app

    run = copy_run()
    settings = [
        "--set",
        "rl.cold_start.steps=2",
        "--set",
        "rl.evaluate_every=2",
        "--set",
        "rl.evaluate_users=8",
    ]
    command = ["train", "--run", str(run.folder), "--stage", "cold_start", *settings]
    printed = CliRunner().invoke(app, [*command, "--json"])
    assert printed.exit_code == 0, printed.output
    summary = json.loads(printed.stdout)["cold_start"]
    assert summary["steps"] == 2
    rows = [row for row in read_jsonl(run.metrics) if row["stage"] == "cold_start"]
    figures = summary["figures"]
    assert figures["reward"]["last"] == pytest.approx((rows[1]["reward"] + rows[2]["reward"]) / 2)
    assert figures["heldout/ndcg@10"]["first"] == rows[0]["heldout/ndcg@10"]
    assert figures["heldout/ndcg@10"]["last"] == rows[2]["heldout/ndcg@10"]

    health = {finding["figure"]: finding for finding in summary["health"]}
    assert set(health) >= {"reward", "reward/format", "validity", "entropy", "preference_information_share"}
    assert health["validity"]["latest"] == pytest.approx((rows[1]["validity"] + rows[2]["validity"]) / 2)

    again = CliRunner().invoke(app, command)  # up to date: nothing runs, the table is shown
    assert again.exit_code == 0, again.output
    assert "cold_start: 2 iterations" in again.stdout
    assert "held-out NDCG@10" in again.stdout
    assert "cold_start: health" in again.stdout
    assert "means of 5 iterations." in again.stdout
    assert len([row for row in read_jsonl(run.metrics) if row["stage"] == "cold_start"]) == 3


def test_a_stage_that_fails_shows_its_health(copy_run):
    from deeprec.cli.app import app

    run = copy_run("run", "rl.collapse={entropy = 50}", "rl.collapse_steps=2")
    failed = CliRunner().invoke(app, ["train", "--run", str(run.folder), "--stage", "cold_start"])
    assert isinstance(failed.exception, TrainingError)
    assert "collapsed at iteration 2" in str(failed.exception)
    assert "cold_start: health" in failed.stderr
    assert failed.stdout == ""


def test_stage_two_alone_needs_stage_one(copy_run):
    from deeprec.cli.app import app

    run = copy_run()
    failed = CliRunner().invoke(app, ["train", "--run", str(run.folder), "--stage", "recommendation"])
    assert isinstance(failed.exception, RunError)
    assert "deeprec train --stage cold_start" in str(failed.exception)
