"""A stage of RL for other software: what is written for it, and what comes back as a stage of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import CopyRun

from deeprec.config import load_config
from deeprec.doctor import inspect_run
from deeprec.errors import ConfigError, PolicyError, RunError
from deeprec.pipeline import build_deeprec, load_stages
from deeprec.rl.adopt import adopt_policy
from deeprec.rl.agent import Agent
from deeprec.rl.launch import Machines, openrlhf_command, write_launch
from deeprec.rl.stage import stage_examples

ONE = Machines(1, 1, 80.0)


def test_prompts_command_and_policy_of_a_stage(copy_run: CopyRun, tmp_path: Path) -> None:
    run = copy_run("run", "rollout.list=free")
    dataset, trm = load_stages(run)
    launch = write_launch(run, dataset, trm, "cold_start", ONE)
    rows = [json.loads(line) for line in launch.prompts.read_text().splitlines()]
    assert len(rows) == 4 * 4  # iterations x users
    examples = stage_examples(run, dataset, trm, "cold_start")
    assert {json.loads(row["label"])["user"] for row in rows} == {example.user_id for example in examples}
    agent = Agent.of(run, "cold_start")
    assert {row["label"] for row in rows} == set(agent._examples)
    script = launch.script.read_text()
    assert f"DEEPREC_RUN={run.folder}" in script
    assert "DEEPREC_STAGE=cold_start" in script
    assert str(run.policy("warm_start")) in launch.command
    # What comes back has the shape of what was handed over; here it is the same policy.
    shutil.copytree(run.policy("warm_start"), tmp_path / "trained")
    adopt_policy(run, dataset, trm, tmp_path / "trained", "cold_start")
    assert run.finished()["cold_start"]["adopted"] == "trained"
    assert run.last_policy() == run.policy("cold_start")
    user = dataset.known_history("u1")
    lists = [
        build_deeprec(run, dataset, trm, stage).recommend([user], 3)[0].ranking
        for stage in ("warm_start", "cold_start")
    ]
    assert lists[0] == lists[1]
    state = inspect_run(run.folder)
    assert state.problems == ()
    assert "problem" not in {finding.verdict for finding in state.findings}


def test_another_model_is_refused_and_the_run_stays(copy_run: CopyRun, tmp_path: Path) -> None:
    run = copy_run("run", "rollout.list=free")
    dataset, trm = load_stages(run)
    shutil.copytree(run.policy("warm_start"), tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps({**values, "num_attention_heads": 4}))
    with pytest.raises(PolicyError, match=r"other"):
        adopt_policy(run, dataset, trm, tmp_path / "other", "cold_start")
    with pytest.raises(RunError, match="stage 'cold_start' has not been run"):
        adopt_policy(run, dataset, trm, tmp_path / "other", "recommendation")
    assert set(run.finished()) == {"data", "trm", "warm_start"}


def test_machines_that_are_too_few_are_told_what_fits() -> None:
    Machines(2, 8, 80.0).check(7_615_616_512)
    with pytest.raises(ConfigError, match=r"--nodes 1 --gpus 1: .*takes 137 GB of each GPU.*; 5 of them fit"):
        Machines(1, 1, 80.0).check(7_615_616_512)
    with pytest.raises(ConfigError, match="no number of them fits: take GPUs with more memory"):
        Machines(1, 8, 24.0).check(7_615_616_512)
    config = load_config("qwen2.5-7b")
    paths = (Path("policy"), Path("prompts"), Path("out"))
    with pytest.raises(ConfigError, match="an update of 512 trajectories can't be shared by 3 GPUs"):
        openrlhf_command(config, "cold_start", *paths, Machines(1, 3, 80.0))
