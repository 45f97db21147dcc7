"""Stock OpenRLHF loads our agent, takes our command, and its own code makes our advantages and no gradient elsewhere.

`make engines` installs OpenRLHF 0.11.2 without its dependencies (they want a GPU) and runs these; vLLM,
DeepSpeed and flash-attn, which it imports and these tests don't ask, are empty modules. Elsewhere they are skipped.
"""

from __future__ import annotations

import asyncio
import importlib.abc
import importlib.machinery
import json
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from agent_world import SPACE, WEIGHTS
from small_world import build_codec, build_dataset, explore, final_list, settings

from deeprec.config import load_config
from deeprec.rl.advantages import center, credit_trajectory, token_sums, whiten
from deeprec.rl.agent import Agent, label_of
from deeprec.rl.launch import Machines, openrlhf_command
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.trm.baselines import ItemKNN

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed here; `make engines` runs this with it")
pytestmark = pytest.mark.filterwarnings("ignore")  # its own

ABSENT = ("vllm", "flash_attn", "deepspeed")
GROUP = 4
SCRIPTS = (
    (explore("Action"), explore("Drama"), final_list()),
    (explore("Comedy"), final_list(("Dune", "Heat"))),
    (explore("Crime"), final_list(("Jaws", "Up", "Ran"))),
    ("no tag at all",),
)


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


class Engine:
    """Says a script, in vLLM's terms."""

    def __init__(self, script: tuple[str, ...]) -> None:
        self._engine = ScriptedEngine(build_codec(), {0: script})

    async def generate(self, context: list[int], params: Any) -> SimpleNamespace:
        from deeprec.rollout.engines.base import Request, Sampling

        sampling = Sampling(
            params.temperature, params.top_p, params.max_tokens, frozenset(params.stop_token_ids)
        )
        (segment,) = self._engine.generate([Request(0, tuple(context), params.max_tokens)], sampling)
        positions = [
            {token: SimpleNamespace(logprob=value)}
            for token, value in zip(segment.token_ids, segment.logprobs, strict=True)
        ]
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=list(segment.token_ids), logprobs=positions)]
        )


@pytest.fixture(scope="module")
def responses() -> list[dict[str, Any]]:
    """32 trajectories at once, as OpenRLHF's own loader and our executor make them."""
    from openrlhf.utils.agent import AgentExecutorBase

    import deeprec.rl.openrlhf_agent as module

    assert issubclass(module.AgentExecutor, AgentExecutorBase)
    dataset = build_dataset()
    examples = dataset.examples("rl")
    executor = object.__new__(module.AgentExecutor)
    executor._agent = Agent(
        dataset, ItemKNN.fit(dataset), build_codec(), settings(), SPACE, WEIGHTS, examples
    )
    shared = SimpleNamespace(logprobs=1, max_tokens=None, temperature=1.0, top_p=1.0)

    async def together() -> list[dict[str, Any]]:
        asked = (
            executor.execute("", label_of(example), shared, 4096, None, Engine(SCRIPTS[rollout]))
            for example in examples
            for rollout in range(GROUP)
        )
        return list(await asyncio.gather(*asked))

    found = asyncio.run(together())
    assert shared.max_tokens is None  # a group shares it
    return found


def test_its_experience_and_advantages_are_ours(responses: list[dict[str, Any]]) -> None:
    from openrlhf.trainer.ppo_utils.experience_maker import RemoteExperienceMaker
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    generator = object.__new__(SamplesGenerator)
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
    credits = [
        credit_trajectory(mask.tolist(), one["reward"]) for mask, one in zip(masks, responses, strict=True)
    ]
    width = max(map(len, masks))
    padded = np.array([np.pad(mask, (0, width - len(mask))) for mask in masks])
    centered = np.array([np.pad(row, (0, width - len(row))) for row in center(credits, GROUP)])
    ours = whiten(centered, padded, token_sums(centered, padded))
    for row, mask, one in zip(ours, masks, theirs, strict=True):
        found = one.advantages[0].numpy()
        np.testing.assert_allclose(found[mask == 1], row[: len(mask)][mask == 1], atol=1e-6)
    assert len({round(float(value), 6) for value in ours[padded == 1]}) > 2


def test_no_gradient_reaches_what_the_environment_wrote(responses: list[dict[str, Any]]) -> None:
    from openrlhf.models.loss import PolicyLoss
    from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator

    generator = object.__new__(SamplesGenerator)
    experience = generator._process_response_into_experience(responses[0], max_len=4096)
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
    command = openrlhf_command(
        config, "recommendation", Path("policy"), Path("p.jsonl"), Path("out"), Machines(2, 8, 80.0)
    )
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
    assert json.dumps(str(args.train.agent_func_path)).endswith('openrlhf_agent.py"')
