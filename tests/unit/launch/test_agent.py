"""Trajectories that another framework drives are those of our own loop, however many run at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from agent_world import SPACE, WEIGHTS
from small_world import build_codec, build_dataset, explore, final_list, settings

from deeprec.config import RunConfig
from deeprec.errors import ConfigError, TrainingError
from deeprec.launch.agent import Agent, Explored, check_agent, label_of
from deeprec.rewards.mixture import mix, reward_parts
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.scripted import ScriptedEngine
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.rollout.tags import TAGS
from deeprec.trm.baselines import ItemKNN
from deeprec.types import Example

DATASET, CODEC, CONFIG = build_dataset(), build_codec(), settings()
TRM = ItemKNN.fit(DATASET)
EXAMPLES = DATASET.examples("rl")
SCRIPTS = (
    (explore("Action"), explore("Drama"), final_list()),
    (explore("Comedy"), final_list(("Dune", "Heat"))),
    (explore(), TAGS.end_think),
    ("no tag at all",),
)


def script_of(example: Example) -> Sequence[str]:
    return SCRIPTS[EXAMPLES.index(example) % len(SCRIPTS)]


class Scripted:
    """An asynchronous engine that says what a script has next, after others have had their turn."""

    def __init__(self, script: Sequence[str], alone: list[int]) -> None:
        self._engine = ScriptedEngine(CODEC, {0: script})
        self._alone = alone

    async def __call__(self, request: Request, sampling: Sampling) -> Segment:
        self._alone[0] += 1
        self._alone[1] = max(self._alone)
        await asyncio.sleep(0.02)
        self._alone[0] -= 1
        return self._engine.generate([request], sampling)[0]


def explored(examples: Sequence[Example], length: int = 4096) -> tuple[list[Explored], int]:
    agent = Agent(DATASET, TRM, CODEC, CONFIG, SPACE, WEIGHTS, EXAMPLES)
    waiting = [0, 0]

    async def together() -> list[Explored]:
        asked = (agent.explore(label_of(e), Scripted(script_of(e), waiting), length) for e in examples)
        return list(await asyncio.gather(*asked))

    return asyncio.run(together()), waiting[1]


def test_32_at_once_are_those_of_our_own_loop_with_the_same_rewards() -> None:
    examples = EXAMPLES * 4
    found, most = explored(examples)
    assert len(found) == 32
    assert most > 16  # they do wait for the engine together
    for example, one in zip(examples, found, strict=True):
        engine = ScriptedEngine(CODEC, {0: script_of(example)})
        environment = Environment(DATASET, TRM, engine, CODEC, CONFIG)
        (expected,) = run_episodes([example], environment, greedy=False)
        assert one.trajectory == expected
        parts = reward_parts([expected], [example], SPACE)
        assert one.reward == mix(parts, WEIGHTS)[0]
        assert one.parts == {name: values[0] for name, values in parts.items()}


def test_ranges_hold_exactly_what_was_sampled() -> None:
    for one in explored(EXAMPLES)[0]:
        start = len(one.trajectory.prompt_ids)
        mask = [0] * len(one.token_ids)
        for first, last in one.action_ranges:
            mask[first:last] = [1] * (last - first)
        assert mask == [0] * start + list(one.trajectory.loss_mask)
        assert one.action_ranges[0][0] == start
        assert len(one.logprobs) == len(one.token_ids)


def test_what_can_t_be_is_refused() -> None:
    agent = Agent(DATASET, TRM, CODEC, CONFIG, SPACE, WEIGHTS, EXAMPLES)
    with pytest.raises(TrainingError, match="is no example of this stage"):
        asyncio.run(agent.explore("{}", Scripted(SCRIPTS[0], [0, 0]), 4096))
    for values, part in (
        ({"rollout": {"list": "masked"}}, "rollout.list = 'masked'"),
        ({"rl": {"credit": "step"}}, "rl.credit = 'step'"),
        ({"policy": {"lora_rank": 8, "model": "some/model"}}, "policy.lora_rank = 8"),
    ):
        with pytest.raises(ConfigError, match=part):
            check_agent(RunConfig.model_validate(values))
