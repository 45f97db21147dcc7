"""A stage of RL for OpenRLHF on many GPUs: its set of prompts, and the exact command with the run's settings."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deeprec.config import RunConfig
from deeprec.disk import write_atomically, write_jsonl
from deeprec.errors import ConfigError
from deeprec.rl.agent import check_agent, label_of
from deeprec.rl.stage import STARTS_FROM, stage_examples, stage_settings
from deeprec.rollout.protocol import render_prompt
from deeprec.run import Run
from deeprec.stages import RLStage

if TYPE_CHECKING:
    from deeprec.data.dataset import Dataset
    from deeprec.trm.base import ExplorableRetriever

_AGENT = Path(__file__).with_name("openrlhf_agent.py")
# Bytes a parameter, ZeRO-2: weights, gradients and vLLM's copy on each GPU; float32 weights and moments shared.
_EACH, _SHARED = 2 + 2 + 2, 12
_FILLED = 0.8  # of a GPU's memory; the rest is for activations and vLLM's cache


@dataclass(frozen=True, slots=True)
class Machines:
    """What the training is given: machines, GPUs in each, and gigabytes (10⁹) of each GPU."""

    nodes: int
    gpus: int
    memory: float

    @property
    def all_gpus(self) -> int:
        """GPUs of all machines."""
        return self.nodes * self.gpus

    def check(self, parameters: int) -> None:
        """Raise ConfigError where a policy of so many parameters can't be trained here."""
        needed = self._needed(parameters, self.all_gpus)
        if needed <= self.memory * _FILLED:
            return
        enough = next(
            (n for n in range(1, 4097) if self._needed(parameters, n) <= self.memory * _FILLED), None
        )
        fits = f"{enough} of them fit" if enough else "no number of them fits: take GPUs with more memory"
        raise ConfigError(
            f"--nodes {self.nodes} --gpus {self.gpus}: a policy of {parameters / 1e9:.1f}e9 parameters takes "
            f"{needed:.0f} GB of each GPU, and {self.memory * _FILLED:.0f} of {self.memory:.0f} can be filled; {fits}"
        )

    @staticmethod
    def _needed(parameters: int, gpus: int) -> float:
        return parameters * (_EACH + _SHARED / gpus) / 1e9


@dataclass(frozen=True, slots=True)
class Launch:
    """What was written: the prompts, the script, and the command in it."""

    prompts: Path
    script: Path
    command: tuple[str, ...]


def write_launch(
    run: Run, dataset: Dataset, trm: ExplorableRetriever, stage: RLStage, machines: Machines
) -> Launch:
    """Write prompts and command of a stage into `RUN/openrlhf/STAGE`.

    Raises RunError where the stage before has not been run, ConfigError for settings that OpenRLHF can't train with,
    and for machines that are too few.
    """
    before = STARTS_FROM[stage]
    run.require(before)
    check_agent(run.config)
    machines.check(_parameters(run.policy(before)))
    folder = run.folder.resolve() / "openrlhf" / stage
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.jsonl"
    steps, users = stage_settings(run.config, stage).steps, run.config.rl.users_per_step
    examples = stage_examples(run, dataset, trm, stage)
    rows = [
        {"input": render_prompt(example, dataset.catalog, run.config.rollout), "label": label_of(example)}
        for example in examples
    ]
    write_jsonl(prompts, [rows[place % len(rows)] for place in range(steps * users)])
    command = openrlhf_command(run.config, stage, run.policy(before).resolve(), prompts, folder, machines)
    script = folder / "train.sh"
    text = f"#!/usr/bin/env bash\nset -euo pipefail\nexport DEEPREC_RUN={shlex.quote(str(run.folder.resolve()))}\n"
    write_atomically(script, f"{text}export DEEPREC_STAGE={stage}\nexec {shlex.join(command)}\n")
    return Launch(prompts, script, command)


def openrlhf_command(
    config: RunConfig, stage: RLStage, policy: Path, prompts: Path, folder: Path, machines: Machines
) -> tuple[str, ...]:
    """OpenRLHF's own command with this run's settings. Raises ConfigError for updates that can't be shared out."""
    rl, rollout = config.rl, config.rollout
    update = rl.users_per_step * rl.rollouts_per_user // rl.updates_per_step
    if update % machines.all_gpus:
        raise ConfigError(
            f"an update of {update} trajectories can't be shared by {machines.all_gpus} GPUs; change rl.users_per_step "
            "or the number of GPUs"
        )
    context = config.engine.context or rollout.response_tokens + _PROMPT
    options: dict[str, Any] = {
        "actor.model_name_or_path": policy,
        "actor.num_nodes": machines.nodes,
        "actor.num_gpus_per_node": machines.gpus,
        "actor.adam.lr": rl.learning_rate,
        "actor.lr_scheduler": "constant",
        "actor.lr_warmup_ratio": 0.0,
        "actor.eps_clip_low_high": rl.clip,
        "actor.gradient_checkpointing_enable": True,
        "algo.advantage.estimator": "reinforce_baseline",
        "algo.kl.init_coef": 0.0,
        "data.prompt_dataset": prompts,
        "data.input_key": "input",
        "data.label_key": "label",
        "data.max_len": context,
        "data.max_samples": stage_settings(config, stage).steps * rl.users_per_step,
        "rollout.batch_size": rl.users_per_step,
        "rollout.n_samples_per_prompt": rl.rollouts_per_user,
        "rollout.temperature": rollout.temperature,
        "rollout.top_p": rollout.top_p,
        "train.batch_size": update,
        "train.max_epochs": 1,
        "train.num_episodes": 1,
        "train.seed": config.seed,
        "train.agent_func_path": _AGENT,
        "train.colocate_all": True,
        "vllm.num_engines": machines.all_gpus,
        "vllm.tensor_parallel_size": 1,
        "vllm.enable_prefix_caching": True,
        "vllm.enable_sleep": True,
        "vllm.gpu_memory_utilization": 0.6,
        "ds.zero_stage": 2,
        "ds.enable_sleep": True,
        "ckpt.output_dir": folder / "policy",
        "logger.tensorboard_dir": folder / "tensorboard",
    }
    words: list[str] = []
    for name, value in options.items():
        words.append(f"--{name}")
        if value is not True:
            words += [str(one) for one in (value if isinstance(value, tuple) else (value,))]
    return ("python", "-m", "openrlhf.cli.train_ppo_ray", *words)


_PROMPT = 4096  # tokens that a prompt may have where the settings name no context


def _parameters(policy: Path) -> int:
    """Numbers in a policy's weights, from the heads of its files."""
    total = 0
    for file in policy.glob("*.safetensors"):
        with file.open("rb") as content:
            head = json.loads(content.read(int.from_bytes(content.read(8), "little")))
        for name, entry in head.items():
            if name != "__metadata__":
                count = 1
                for size in entry["shape"]:
                    count *= size
                total += count
    return total
