"""Stock OpenRLHF loads our agent, takes our command, and its own code makes our advantages and no gradient elsewhere.

`make openrlhf` installs OpenRLHF 0.11.2 without its dependencies (they want a GPU) and runs these; vLLM,
DeepSpeed and flash-attn, which it imports and these tests don't ask, are empty modules. Elsewhere they are skipped.
"""

from __future__ import annotations

import asyncio
import importlib.abc
import importlib.machinery
import shlex
import shutil
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from deeprec.config import load_config, override_config
from deeprec.launch.agent import label_of
from deeprec.launch.machines import Machines
from deeprec.launch.openrlhf import Places, openrlhf_command, write_launch
from deeprec.pipeline import load_stages
from deeprec.policy.loading import load_policy
from deeprec.rl.advantages import token_sums, whiten
from deeprec.rl.sampling import Sampler
from deeprec.rl.selection import select
from deeprec.rl.stage import build_sampler
from deeprec.run import Run
from deeprec.types import Trajectory

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed here; `make openrlhf` runs this with it")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own

ABSENT = ("vllm", "flash_attn", "deepspeed")
GROUP = 4


class Empty(types.ModuleType):
    """A module with any name in it, and nothing behind the names."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return "0.29.0"
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class EmptyModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds what OpenRLHF imports for a GPU, and what none of these tests calls."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: Any) -> Empty:
        return Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is in it."""


@pytest.fixture(scope="module", autouse=True)
def no_gpu() -> Iterator[None]:
    """Packages for GPUs are empty here."""
    finder = EmptyModules()
    sys.meta_path.append(finder)
    yield
    sys.meta_path.remove(finder)


class Replaying:
    """An engine in vLLM's terms that samples what trajectories under TRL sampled, by their prompts, once each."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory

    async def generate(self, context: list[int], params: Any) -> SimpleNamespace:
        await asyncio.sleep(0.01)  # others have their turn
        done = self._trajectory
        assert params.ignore_eos
        assert context == [*done.prompt_ids, *done.response_ids][: len(context)]
        ids: list[int] = []
        for place in range(len(context) - len(done.prompt_ids), len(done.response_ids)):
            if not done.loss_mask[place] or len(ids) == params.max_tokens:
                break
            ids.append(done.response_ids[place])
            if ids[-1] in params.stop_token_ids:
                break
        positions = [{token: SimpleNamespace(logprob=-1.5)} for token in ids]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, logprobs=positions)])


@dataclass(frozen=True)
class Both:
    """An iteration under TRL, and OpenRLHF's responses to the same sampled tokens."""

    sampler: Sampler
    batch: dict[str, list[Any]]
    responses: list[dict[str, Any]]


@pytest.fixture(scope="module")
def both(warm_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """32 trajectories: sampled by TRL's sampler, then at once by the agent as OpenRLHF's own loader makes it."""
    from openrlhf.trainer.ray.vllm_engine import _load_agent_executor

    folder = tmp_path_factory.mktemp("openrlhf") / "run"
    shutil.copytree(warm_run, folder)
    run = Run.open(folder)
    run = Run.create(folder, override_config(run.config, ["rollout.list=free", "rl.rollouts_per_user=4"]))
    dataset, trm = load_stages(run)
    selection = select(dataset, trm, run.config.selection, run.config.seed)
    policy = load_policy(str(run.policy("warm_start")), run.config.policy)
    sampler = build_sampler(run, dataset, trm, policy, "cold_start", selection)
    places = [place for place in range(32 // GROUP) for _ in range(GROUP)]
    kept: list[Trajectory] = []
    roll_out = sampler.roll_out
    sampler.roll_out = lambda positions: kept.extend(roll_out(positions)) or list(kept)
    batch = sampler.sample(places, 0)
    launch = write_launch(run, dataset, trm, "cold_start", Machines(1, 1, 80.0))
    executor = _load_agent_executor(str(launch.agent))
    shared = SimpleNamespace(logprobs=1, max_tokens=None, temperature=1.0, top_p=1.0)

    async def together() -> list[dict[str, Any]]:
        asked = (
            executor.execute("", label_of(sampler.examples[place]), shared, 4096, None, Replaying(trajectory))
            for place, trajectory in zip(places, kept, strict=True)
        )
        return list(await asyncio.gather(*asked))

    responses = asyncio.run(together())
    assert shared.max_tokens is None  # a group shares it
    return Both(sampler, batch, responses)


def test_trajectories_and_rewards_are_those_under_trl(both: Both) -> None:
    assert len(both.responses) == 32
    for place, one in enumerate(both.responses):
        prompt, completion, mask = (
            both.batch[name][place] for name in ("prompt_ids", "completion_ids", "env_mask")
        )
        assert one["observation_tokens"] == [*prompt, *completion]
        sampled = {place for first, last in one["action_ranges"] for place in range(first, last)}
        assert sampled == {len(prompt) + place for place, bit in enumerate(mask) if bit}
        assert one["reward"] == both.batch["reward"][place]
    assert len({one["reward"] for one in both.responses}) > 2
    assert len({tuple(one["extra_logs"]) for one in both.responses}) == 1


def test_its_experience_and_advantages_are_ours(both: Both) -> None:
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    generator = object.__new__(SamplesGenerator)
    responses = both.responses
    experiences = [generator._process_response_into_experience(one, max_len=4096) for one in responses]
    for place, (one, response) in enumerate(zip(experiences, responses, strict=True)):
        one.index = [place]
        one.kl = torch.zeros_like(one.action_mask, dtype=torch.float32)
        sampled = int(one.action_mask.sum())
        assert sampled == sum(last - first for first, last in response["action_ranges"]) > 0
    maker = object.__new__(RemoteExperienceMaker)
    algo = SimpleNamespace(
        advantage=SimpleNamespace(estimator="reinforce_baseline", gamma=1.0, lambd=1.0, no_std_norm=False)
    )
    args = SimpleNamespace(
        algo=algo,
        rollout=SimpleNamespace(n_samples_per_prompt=GROUP),
        reward=SimpleNamespace(
            clip_range=(-10, 10), overlong_buffer_len=None, stop_properly_penalty_coef=None
        ),
    )
    maker.strategy = SimpleNamespace(args=args)
    maker.advantage_estimator, maker.kl_ctl = "reinforce_baseline", SimpleNamespace(value=0.0)
    theirs = maker.compute_advantages_and_returns(experiences)
    masks = [one.action_mask[0].numpy() for one in experiences]
    width = max(map(len, masks))
    padded = np.array([np.pad(mask, (0, width - len(mask))) for mask in masks])
    # What `rl.trainer` does with the sampler's centred advantages, which stand at the response's tokens alone.
    centered = np.zeros(padded.shape)
    for row, mask, own, bits in zip(
        centered, masks, both.sampler.advantages, both.batch["env_mask"], strict=True
    ):
        row[: len(mask)][mask == 1] = own[np.array(bits) == 1]
    ours = whiten(centered, padded, token_sums(centered, padded))
    for row, mask, one in zip(ours, masks, theirs, strict=True):
        found = one.advantages[0].numpy()
        np.testing.assert_allclose(found[mask == 1], row[: len(mask)][mask == 1], atol=1e-6)
    assert len({round(float(value), 6) for value in ours[padded == 1]}) > 2


def test_no_gradient_reaches_what_the_environment_wrote(both: Both) -> None:
    from openrlhf.models.loss import PolicyLoss
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    generator = object.__new__(SamplesGenerator)
    asking = next(one for one in both.responses if len(one["action_ranges"]) > 1)
    experience = generator._process_response_into_experience(asking, max_len=4096)
    mask = experience.action_mask
    logprobs = torch.full(mask.shape, -1.0, requires_grad=True)
    result = PolicyLoss()(logprobs, logprobs.detach(), torch.ones(mask.shape), action_mask=mask)
    loss = result[0] if isinstance(result, tuple) else result
    loss.backward()
    gradient = logprobs.grad
    assert gradient is not None
    assert bool((gradient[mask == 0] == 0).all())
    assert bool((gradient[mask == 1] != 0).all())
    assert int((mask == 0).sum()) > 0


def test_its_parser_takes_our_command_with_the_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("qwen2.5-7b")
    places = Places(Path("policy"), Path("out"), Path("out/checkpoints"))
    command = openrlhf_command(config, "recommendation", places, Machines(2, 8, 80.0), 2)
    assert command[:3] == ("python", "-m", "openrlhf.cli.train_ppo_ray")
    parsed: list[Any] = []

    def train(args: Any) -> None:
        parsed.append(args)

    from openrlhf.cli import train_ppo_ray

    source = Path(train_ppo_ray.__file__).read_text(encoding="utf-8")
    program = source.replace("    train(args)", "    _seen(args)")
    assert program != source
    monkeypatch.setattr(sys, "argv", list(shlex.split(shlex.join(command))[2:]))
    exec(compile(program, train_ppo_ray.__file__, "exec"), {"__name__": "__main__", "_seen": train})
    (args,) = parsed
    assert (args.rollout.batch_size, args.rollout.n_samples_per_prompt, args.train.batch_size) == (
        128,
        8,
        512,
    )
    assert args.data.max_samples == 80 * 128
    assert (args.actor.adam.lr, args.algo.kl.init_coef) == (1e-6, 0.0)
    assert args.algo.advantage.estimator == "reinforce_baseline"
    assert tuple(args.actor.eps_clip_low_high) == (0.2, 0.28)
    assert args.train.agent_func_path == "out/agent.py"
    assert (args.actor.num_nodes, args.actor.num_gpus_per_node, args.vllm.num_engines) == (2, 8, 16)
