"""One iteration's experience: whom to sample, the trajectories, their rewards, the figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deeprec.disk import append_jsonl
from deeprec.errors import TrainingError
from deeprec.rewards.mixture import RewardSpace, mix, reward_parts
from deeprec.rewards.steps import step_rewards, steps_of_tokens
from deeprec.rl.advantages import Credit, center, credit_steps, credit_trajectory
from deeprec.rl.list_credit import ListPlan, plan_lists
from deeprec.rl.statistics import describe
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.types import Example, Trajectory

SAMPLES_PER_STEP = 2  # trajectories of an iteration that are kept for people to read


def seed_of(seed: int, *place: str | int) -> int:
    """A seed for one place of a run (stage, step), unrelated to its neighbours' seeds."""
    # 63 bits: torch takes signed seeds.
    return int.from_bytes(sha256(repr((seed, *place)).encode()).digest()[:8], "big") >> 1


def schedule(pool_size: int, users_per_step: int, steps: int, seed: int) -> NDArray[np.int64]:
    """Which examples of a pool each iteration uses: positions (steps, users_per_step).

    Goes through the pool in one shuffled order after another, so that all examples are
    used equally often. A shorter schedule is the beginning of a longer one.
    """
    needed = steps * users_per_step
    rounds = [
        np.random.default_rng(seed_of(seed, "schedule", turn)).permutation(pool_size)
        for turn in range(-(-needed // pool_size))
    ]
    order = np.concatenate(rounds) if rounds else np.zeros(0, dtype=np.int64)
    return order[:needed].reshape(steps, users_per_step)


@dataclass
class Sampler:
    """Samples and scores the trajectories of one iteration, `rollouts_per_user` per example.

    What is drawn depends on (seed, stage, step) and the weights alone, so that a resumed
    run meets exactly what the uninterrupted one would have met.
    """

    environment: Environment
    space: RewardSpace
    examples: Sequence[Example]
    weights: Mapping[str, float]
    stage: str
    seed: int
    rollouts_per_user: int
    trajectories_file: Path
    failed_file: Path
    by_step: bool = False  # credit each turn and line with what is earned from there on
    figures: dict[str, float] = field(default_factory=dict)  # of the latest iteration
    # Of the latest iteration: each response token's (T,), one array a trajectory, not whitened yet.
    advantages: list[NDArray[np.float64]] = field(default_factory=list)
    plans: list[ListPlan | None] = field(default_factory=list)  # of its drawn lists, by trajectory

    def sample(self, positions: Sequence[int], step: int, rank: int = 0) -> dict[str, list[Any]]:
        """What TRL wants for the examples at `positions`, groups together and in order.

        `rank` tells apart the processes that sample for one iteration. Raises RewardError
        when a reward can't be computed.
        """
        started = time.perf_counter()
        chosen = [self.examples[position] for position in positions]
        self._check_groups(positions)
        self._reseed(step, rank)
        trajectories = self.roll_out(positions)
        parts = reward_parts(
            trajectories,
            chosen,
            self.space,
            rollouts_per_user=self.rollouts_per_user,
            failed=self.failed_file,
        )
        self.figures = describe(trajectories, parts, self.weights, self.rollouts_per_user)
        if rank == 0:
            self._keep_samples(trajectories, chosen, parts, step)
        rewards = mix(parts, self.weights)
        credits = self._credit(trajectories, chosen, parts, rewards)
        self.advantages = center(credits, self.rollouts_per_user)
        # Lists have credit of their own: their lines are no tokens that the policy sampled.
        self.plans = plan_lists(trajectories, chosen, self.weights, self.space)
        self.figures["seconds/rollout"] = time.perf_counter() - started
        return {
            "prompt_ids": [list(trajectory.prompt_ids) for trajectory in trajectories],
            "completion_ids": [list(trajectory.response_ids) for trajectory in trajectories],
            "env_mask": [list(trajectory.loss_mask) for trajectory in trajectories],
            "reward": rewards.tolist(),
        }

    def roll_out(self, positions: Sequence[int]) -> list[Trajectory]:
        """One sampled trajectory for each of the examples at `positions`, in order."""
        return run_episodes(
            [self.examples[position] for position in positions], self.environment, greedy=False
        )

    def _credit(
        self,
        trajectories: Sequence[Trajectory],
        examples: Sequence[Example],
        parts: Mapping[str, NDArray[np.floating]],
        rewards: NDArray[np.float64],
    ) -> list[Credit]:
        """What each trajectory's tokens take credit for: all of its reward, or what is earned from their step on."""
        if not self.by_step:
            return [
                credit_trajectory(trajectory.loss_mask, float(reward))
                for trajectory, reward in zip(trajectories, rewards, strict=True)
            ]
        found = []
        for place, (trajectory, example) in enumerate(zip(trajectories, examples, strict=True)):
            own = {name: float(values[place]) for name, values in parts.items()}
            shares = step_rewards(trajectory, example, own, self.weights, self.space)
            found.append(credit_steps(steps_of_tokens(trajectory, self.environment.codec), shares))
        return found

    def _check_groups(self, positions: Sequence[int]) -> None:
        """The baseline is a group's mean: a group that is torn apart would make it wrong."""
        grouped = np.asarray(positions).reshape(-1, self.rollouts_per_user)
        if (grouped != grouped[:, :1]).any():
            raise TrainingError(f"rollouts of one user don't stand together: {list(positions)}")

    def _reseed(self, step: int, rank: int) -> None:
        self.environment.reseed(seed_of(self.seed, self.stage, step, rank))

    def _keep_samples(
        self,
        trajectories: Sequence[Trajectory],
        examples: Sequence[Example],
        parts: Mapping[str, NDArray[np.floating]],
        step: int,
    ) -> None:
        rewards = mix(parts, self.weights)
        for number in range(min(SAMPLES_PER_STEP, len(trajectories) // self.rollouts_per_user)):
            position = number * self.rollouts_per_user
            record = trajectory_record(trajectories[position], examples[position])
            record["reward"] = float(rewards[position])
            record["parts"] = {name: float(values[position]) for name, values in parts.items()}
            append_jsonl(self.trajectories_file, {"stage": self.stage, "step": step, **record})


def trajectory_record(trajectory: Trajectory, example: Example) -> dict[str, Any]:
    """A trajectory as plain values for a file, without token ids."""
    return {
        "user_id": trajectory.user_id,
        "target": example.target,
        "prompt": trajectory.prompt,
        "response": trajectory.response,
        "turns": [
            {"thought": turn.thought, "preference": turn.preference, "retrieved": list(turn.retrieved)}
            for turn in trajectory.turns
        ],
        "ranking": list(trajectory.ranking),
        "stop_reason": str(trajectory.stop_reason),
        "format_errors": list(trajectory.format_errors),
    }
