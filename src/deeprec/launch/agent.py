"""Trajectories one by one, for a framework that drives the rollouts itself and asks for one at a time.

Each runs through the one rollout loop in a thread of its own, and waits there for the framework's engine. All but
the waiting happens one thread at a time: data, TRM and rewards are not made to be shared.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from deeprec.config import RolloutConfig, RunConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import ConfigError, TrainingError
from deeprec.rewards.mixture import RewardSpace, mix, reward_parts
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.environment import Environment
from deeprec.rollout.list_makers import RetrievedLists
from deeprec.rollout.runner import run_episodes
from deeprec.trm.base import Retriever
from deeprec.types import Example, Trajectory

if TYPE_CHECKING:
    from deeprec.run import Run
    from deeprec.stages import RLStage

_AT_ONCE = 1024  # trajectories that may wait for the engine; a thread each
Generate = Callable[[Request, Sampling], Awaitable[Segment]]


@dataclass(frozen=True)
class Explored:
    """A finished trajectory, its reward as the stage mixes it, and the parts of that."""

    trajectory: Trajectory
    reward: float
    parts: Mapping[str, float]

    @property
    def token_ids(self) -> list[int]:
        """Prompt and response."""
        return [*self.trajectory.prompt_ids, *self.trajectory.response_ids]

    @property
    def logprobs(self) -> list[float]:
        """Parallel to `token_ids`: of what the policy sampled, 0.0 elsewhere."""
        return [0.0] * len(self.trajectory.prompt_ids) + list(self.trajectory.logprobs)

    @property
    def action_ranges(self) -> list[tuple[int, int]]:
        """Where in `token_ids` the policy sampled: half-open ranges, in order."""
        found, place = [], len(self.trajectory.prompt_ids)
        for sampled, run in groupby(self.trajectory.loss_mask):
            stop = place + sum(1 for _ in run)
            if sampled:
                found.append((place, stop))
            place = stop
        return found


class Agent:
    """Explores for the examples of one RL stage, with whatever engine it is given."""

    def __init__(
        self,
        dataset: Dataset,
        retriever: Retriever,
        codec: Codec,
        config: RolloutConfig,
        space: RewardSpace,
        weights: Mapping[str, float],
        examples: Sequence[Example],
    ) -> None:
        """`examples` are those that labels may name."""
        self._dataset, self._retriever, self._codec, self._config = dataset, retriever, codec, config
        self._space, self._weights = space, weights
        self._lists = RetrievedLists(config.recommended) if config.list == "retrieved" else None
        self._examples = {label_of(example): example for example in examples}
        self._alone = threading.Lock()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "explore")

    @classmethod
    def of(cls, run: Run, stage: RLStage) -> Agent:
        """Data, TRM, tokenizer and rewards of a run whose stage before has been run."""
        from deeprec.data.stage import load_data
        from deeprec.policy.loading import load_tokenizer
        from deeprec.rl.stage import STARTS_FROM, reward_space, stage_examples, stage_settings
        from deeprec.rollout.codec import TokenizerCodec
        from deeprec.trm.stage import load_trm

        check_agent(run.config)
        run.require(STARTS_FROM[stage])
        dataset = load_data(run)
        trm = load_trm(run, dataset)
        return cls(
            dataset,
            trm,
            TokenizerCodec(load_tokenizer(str(run.policy(STARTS_FROM[stage])))),
            run.config.rollout,
            reward_space(run, dataset, trm),
            stage_settings(run.config, stage).weights,
            stage_examples(run, dataset, trm, stage),
        )

    async def explore(self, label: str, generate: Generate, max_length: int) -> Explored:
        """The trajectory of the example that `label_of` gave this label, `max_length` tokens at most.

        `generate` samples one segment in the running event loop. Raises TrainingError for an unknown label.
        """
        example = self._examples.get(label)
        if example is None:
            raise TrainingError(f"label {label}: is no example of this stage; write the prompts anew")
        loop = asyncio.get_running_loop()
        engine = _Waiting(generate, loop, self._alone, max_length)
        return await loop.run_in_executor(self._pool, self._explore, example, engine)

    def _explore(self, example: Example, engine: _Waiting) -> Explored:
        with self._alone:
            environment = Environment(
                self._dataset, self._retriever, engine, self._codec, self._config, lists=self._lists
            )
            (trajectory,) = run_episodes([example], environment, greedy=False)
            parts = reward_parts([trajectory], [example], self._space)
            reward = float(mix(parts, self._weights)[0])
        return Explored(trajectory, reward, {name: float(values[0]) for name, values in parts.items()})


class _Waiting:
    """The framework's engine as one of ours: waits in its thread, and lets others go on meanwhile."""

    def __init__(
        self, generate: Generate, loop: asyncio.AbstractEventLoop, alone: threading.Lock, length: int
    ) -> None:
        self._generate, self._loop, self._alone = generate, loop, alone
        self.context_length = length

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """A segment for each request, in order."""

        async def together() -> list[Segment]:
            return list(await asyncio.gather(*(self._generate(request, sampling) for request in requests)))

        found = asyncio.run_coroutine_threadsafe(together(), self._loop)
        self._alone.release()
        try:
            return found.result()
        finally:
            self._alone.acquire()

    def reseed(self, seed: int) -> None:
        """The framework seeds its engine itself."""

    def forget(self) -> None:
        """The framework tells its engine when weights change."""


def check_agent(config: RunConfig) -> None:
    """Raise ConfigError for settings that another framework can't train with."""
    if config.rollout.list == "masked":
        raise ConfigError(
            "rollout.list = 'masked': drawing lists needs the policy's weights beside its engine; set it to 'free'"
        )
    if config.rl.credit == "step":
        raise ConfigError("rl.credit = 'step': there a trajectory has one reward; set it to 'trajectory'")
    if config.policy.lora_rank:
        raise ConfigError(
            f"policy.lora_rank = {config.policy.lora_rank}: there all weights are trained; set it to 0"
        )


def label_of(example: Example) -> str:
    """How an example is called in a set of prompts: JSON, the same wherever it is made."""
    return json.dumps({"user": example.user_id, "known": len(example.history), "target": example.target})
