"""A stage of RL for OpenRLHF on many GPUs: its set of prompts, and the exact command with the run's settings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deeprec.config import RunConfig
from deeprec.disk import write_atomically, write_jsonl
from deeprec.errors import ConfigError
from deeprec.launch.agent import check_agent, label_of
from deeprec.launch.machines import Machines, shaped_parameters, stored_parameters
from deeprec.rl.sampling import schedule
from deeprec.rl.stage import STARTS_FROM, stage_examples, stage_inputs, stage_settings
from deeprec.rollout.protocol import render_prompt
from deeprec.run import Run
from deeprec.stages import RLStage

if TYPE_CHECKING:
    from deeprec.data.dataset import Dataset
    from deeprec.trm.base import ExplorableRetriever

_PROMPT = 4096  # tokens that a prompt may have where the settings name no context
_SAVE = 5  # iterations between checkpoints
# OpenRLHF loads a file, not a module; it says itself which stage of which run it is for, and so needs no environment.
_AGENT = '''"""OpenRLHF's agent for this stage of this run; `deeprec launch openrlhf` wrote it."""

from pathlib import Path

from deeprec.launch.openrlhf_agent import Executor


class AgentExecutor(Executor):
    folder = Path(__file__).resolve().parent
'''
_SCRIPT = """#!/usr/bin/env bash
# Written by `deeprec launch openrlhf`. The same command goes on from the last checkpoint.
set -euo pipefail
deeprec launch check --nodes {nodes} --gpus {gpus}
exec {command}
"""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a training reads and writes: the policy that it starts from, its folder, its checkpoints."""

    policy: Path
    folder: Path
    checkpoints: Path


@dataclass(frozen=True, slots=True)
class Launch:
    """What was written: the prompts, the agent, the script, and the command in it."""

    prompts: Path
    agent: Path
    script: Path
    command: tuple[str, ...]

    @property
    def policy(self) -> Path:
        """Where OpenRLHF leaves what it trained."""
        return self.script.parent / "policy"


def write_launch(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: RLStage, machines: Machines
) -> Launch:
    """Write prompts, agent and command of a stage into `RUN/openrlhf/STAGE`.

    The prompts are those that TRL would meet: `rl.users_per_step` examples an iteration, all equally often. Raises
    RunError where the stage before has not been run, ConfigError for settings that OpenRLHF can't train with,
    and for machines that are too few.
    """
    before = STARTS_FROM[stage]
    run.require(before)
    check_agent(run.config)
    zero = machines.zero_stage(stored_parameters(run.policy(before)))
    folder = run.folder.resolve() / "openrlhf" / stage
    # Named after what they depend on: those of other settings or another start are never gone on from.
    inputs = stage_inputs(run.config, dataset, stage, run.finished()[before]["inputs"])
    places = Places(run.policy(before).resolve(), folder, folder / f"checkpoints-{inputs.fingerprint[:8]}")
    command = openrlhf_command(run.config, stage, places, machines, zero)
    launch = Launch(folder / "prompts.jsonl", folder / "agent.py", folder / "train.sh", command)
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(launch.prompts, _prompts(run, dataset, trm, stage))
    write_atomically(launch.agent, _AGENT)
    script = _SCRIPT.format(nodes=machines.nodes, gpus=machines.gpus, command=shlex.join(launch.command))
    write_atomically(launch.script, script)
    return launch


def _prompts(run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: RLStage) -> list[dict[str, str]]:
    config = run.config
    rows = [
        {"input": render_prompt(example, dataset.catalog, config.rollout), "label": label_of(example)}
        for example in stage_examples(run, dataset, trm, stage)
    ]
    steps = stage_settings(config, stage).steps
    return [rows[place] for place in schedule(len(rows), config.rl.users_per_step, steps, config.seed).flat]


def check_launch(config: RunConfig, machines: Machines) -> None:
    """Raise, before anything is made, ConfigError for what `write_launch` would refuse of settings and machines."""
    check_agent(config)
    check_shares(config, machines)
    if config.policy.model != "tiny":
        machines.zero_stage(shaped_parameters(config.policy.model))


def check_shares(config: RunConfig, machines: Machines) -> int:
    """Trajectories of an update; raises ConfigError where the GPUs can't share them out."""
    update = config.rl.users_per_step * config.rl.rollouts_per_user // config.rl.updates_per_step
    if update % machines.all_gpus:
        fewer = max(count for count in range(1, machines.all_gpus) if update % count == 0)
        raise ConfigError(
            f"an update of {update} trajectories can't be shared by {machines.all_gpus} GPUs; take {fewer} of them, or "
            "change rl.users_per_step"
        )
    return update


def openrlhf_command(
    config: RunConfig, stage: RLStage, places: Places, machines: Machines, zero: int
) -> tuple[str, ...]:
    """OpenRLHF's own command with this run's settings, and ZeRO of stage `zero`.

    Raises ConfigError for updates that can't be shared out.
    """
    rl, rollout, folder = config.rl, config.rollout, places.folder
    options: dict[str, object] = {
        "actor.model_name_or_path": places.policy,
        "actor.num_nodes": machines.nodes,
        "actor.num_gpus_per_node": machines.gpus,
        "actor.adam.lr": rl.learning_rate,
        "actor.lr_scheduler": "constant",
        "actor.lr_warmup_ratio": 0.0,
        "actor.eps_clip_low_high": rl.clip,
        "actor.gradient_checkpointing_enable": True,
        "algo.advantage.estimator": "reinforce_baseline",
        "algo.kl.init_coef": 0.0,
        "data.prompt_dataset": folder / "prompts.jsonl",
        "data.input_key": "input",
        "data.label_key": "label",
        "data.max_len": config.engine.context or rollout.response_tokens + _PROMPT,
        "data.max_samples": stage_settings(config, stage).steps * rl.users_per_step,
        "rollout.batch_size": rl.users_per_step,
        "rollout.n_samples_per_prompt": rl.rollouts_per_user,
        "rollout.temperature": rollout.temperature,
        "rollout.top_p": rollout.top_p,
        "train.batch_size": check_shares(config, machines),
        "train.micro_batch_size": 1,
        "train.max_epochs": 1,
        "train.num_episodes": 1,
        "train.seed": config.seed,
        "train.agent_func_path": folder / "agent.py",
        "train.colocate_all": True,
        "vllm.num_engines": machines.all_gpus,
        "vllm.tensor_parallel_size": 1,
        "vllm.enable_prefix_caching": True,
        "vllm.enable_sleep": True,
        "vllm.gpu_memory_utilization": 0.6,
        "ds.zero_stage": zero,
        "ds.enable_sleep": True,
        "ckpt.output_dir": folder / "policy",
        "ckpt.path": places.checkpoints,
        "ckpt.save_steps": _SAVE,
        "ckpt.max_num": 2,
        "ckpt.load_enable": True,
        "logger.tensorboard_dir": folder / "tensorboard",
    }
    words: list[str] = []
    for name, value in options.items():
        words.append(f"--{name}")
        if value is not True:
            words += [str(one) for one in (value if isinstance(value, tuple) else (value,))]
    return ("python", "-m", "openrlhf.cli.train_ppo_ray", *words)
