"""A stage of RL for other software: what is written for it, and what comes back as a stage of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import CopyRun
from transformers import AutoModelForCausalLM, Qwen2Config
from typer.testing import CliRunner

from deeprec.cli.app import app
from deeprec.doctor import inspect_run
from deeprec.errors import PolicyError, RunError
from deeprec.launch.adopt import adopt_policy
from deeprec.launch.agent import Agent
from deeprec.launch.machines import Machines
from deeprec.launch.openrlhf import write_launch
from deeprec.pipeline import build_deeprec, load_stages
from deeprec.rl.sampling import schedule
from deeprec.rl.stage import stage_examples
from deeprec.run import Run

ONE = Machines(1, 1, 80.0)


def test_prompts_command_and_policy_of_a_stage(copy_run: CopyRun, tmp_path: Path) -> None:
    run = copy_run("run", "rollout.list=free")
    dataset, trm = load_stages(run)
    launch = write_launch(run, dataset, trm, "cold_start", ONE)
    rows = [json.loads(line) for line in launch.prompts.read_text().splitlines()]
    examples = stage_examples(run, dataset, trm, "cold_start")
    order = schedule(len(examples), 4, 4, run.config.seed)  # as under TRL
    users = [examples[place].user_id for place in order.flat]
    assert [json.loads(row["label"])["user"] for row in rows] == users
    agent = Agent.of(run, "cold_start")
    assert {row["label"] for row in rows} <= set(agent._examples)
    assert "deeprec launch check --nodes 1 --gpus 1" in launch.script.read_text()
    assert str(run.policy("warm_start")) in launch.command
    assert str(launch.agent) in launch.command
    # What comes back has the shape of what was handed over; here it is the same policy.
    shutil.copytree(run.policy("warm_start"), tmp_path / "trained")
    arguments = [
        "policy",
        "adopt",
        str(tmp_path / "trained"),
        "--stage",
        "cold_start",
        "--run",
        str(run.folder),
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    record = Run.open(run.folder).finished()["cold_start"]
    assert (record["adopted"], record["steps"]) == (str(tmp_path / "trained"), 4)
    assert record["selection"]["cold_start_examples"] == len(examples)
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
    # The next stage starts from it, and a stage that was adopted is not trained again.
    write_launch(run, dataset, trm, "recommendation", ONE)
    shown = CliRunner().invoke(app, ["train", "--stage", "cold_start", "--run", str(run.folder), "--json"])
    assert json.loads(shown.stdout)["cold_start"]["steps"] == 4


def test_checkpoints_of_other_settings_are_not_gone_on_from(copy_run: CopyRun) -> None:
    def checkpoints(*overrides: str) -> str:
        run = copy_run("".join(overrides) or "run", "rollout.list=free", *overrides)
        command = write_launch(run, *load_stages(run), "cold_start", ONE).command
        return Path(command[command.index("--ckpt.path") + 1]).name

    assert checkpoints() == checkpoints("rollout.users_per_batch=3")  # speed alone
    assert checkpoints("rl.learning_rate=0.5") != checkpoints("rl.learning_rate=0.25")


def test_another_model_is_refused_and_the_run_stays(copy_run: CopyRun, tmp_path: Path) -> None:
    run = copy_run("run", "rollout.list=free")
    dataset, trm = load_stages(run)
    shutil.copytree(run.policy("warm_start"), tmp_path / "other")
    file = tmp_path / "other" / "config.json"
    values = json.loads(file.read_text())
    heads, keys = (values[key] for key in ("num_attention_heads", "num_key_value_heads"))
    halved = {"num_attention_heads": 2 * heads, "num_key_value_heads": 2 * keys}
    file.write_text(json.dumps({**values, **halved}))  # as many weights, and another model
    said = rf"other: num_attention_heads = {2 * heads}, the policy of 'warm_start' has {heads}"
    with pytest.raises(PolicyError, match=said):
        adopt_policy(run, dataset, trm, tmp_path / "other", "cold_start")
    with pytest.raises(PolicyError, match="nowhere"):
        adopt_policy(run, dataset, trm, tmp_path / "nowhere", "cold_start")
    with pytest.raises(RunError, match="stage 'cold_start' has not been run"):
        adopt_policy(run, dataset, trm, tmp_path / "other", "recommendation")
    assert set(run.finished()) == {"data", "trm", "warm_start"}


def test_a_preset_begins_a_run_and_a_second_command_uses_it(tmp_path: Path) -> None:
    settings = (
        "rollout.list=free",
        "data.synthetic.users=60",
        "data.synthetic.items=60",
        "trm.epochs=1",
        "warm_start.script_steps=2",
        "warm_start.text_epochs=0",
        "policy.width=32",
        "rl.users_per_step=4",
        "rl.rollouts_per_user=4",
        "rl.updates_per_step=2",
    )
    command = ["launch", "openrlhf", "--preset", "ci", "--run", str(tmp_path / "run"), "--gpus", "2"]
    for setting in settings:
        command += ["--set", setting]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "openrlhf.cli.train_ppo_ray" in first.stdout
    made = Run.open(tmp_path / "run").finished()
    assert set(made) == {"data", "trm", "warm_start"}
    again = CliRunner().invoke(app, command)
    assert again.stdout.splitlines()[-3:] == first.stdout.splitlines()[-3:]
    assert Run.open(tmp_path / "run").finished() == made
    with pytest.raises(RunError, match="stage 'cold_start' has not been run"):
        CliRunner().invoke(app, [*command, "--stage", "recommendation"], catch_exceptions=False)


def write_hollow_model(folder: Path, config: Qwen2Config) -> None:
    """A model folder as it is saved, but that its weights are a hole in the file: of any size, at no cost."""
    config.save_pretrained(folder)
    with torch.device("meta"):
        weights = AutoModelForCausalLM.from_config(config).state_dict()
    head, end = {}, 0
    for name, weight in weights.items():
        start, end = end, end + 2 * weight.numel()
        head[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def test_machines_that_are_too_few_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    shape = Qwen2Config(
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        vocab_size=152064,
    )
    write_hollow_model(tmp_path / "model", shape)
    command = ["launch", "openrlhf", "--preset", "qwen2.5-7b", "--run", str(tmp_path / "run"), "--gpus", "1"]
    with pytest.raises(
        ValueError, match=r"a policy of 7.6e9 parameters takes 137 GB of each GPU.*; 3 of them fit"
    ):
        CliRunner().invoke(
            app, [*command, "--set", f"policy.model={tmp_path / 'model'}"], catch_exceptions=False
        )
    assert not (tmp_path / "run").exists()
