"""The trainer against slow references, on a real tiny model and real rollouts."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from deeprec.rewards.mixture import mix
from deeprec.rollout.runner import run_episodes

# TRL asks transformers by a name that it is about to drop; a stage silences it in `quiet_libraries`.
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture(scope="module")
def trainer(warm_run, tmp_path_factory):
    """A trainer of stage 1 on the warm-started policy, and what its latest rollouts were."""
    import shutil

    from deeprec.data.format import read_dataset
    from deeprec.policy.loading import load_policy
    from deeprec.rl import trl
    from deeprec.rl.selection import select
    from deeprec.rl.stage import build_plan, build_sampler
    from deeprec.run import Run
    from deeprec.trm.stage import load_trm

    folder = tmp_path_factory.mktemp("trainer") / "run"
    shutil.copytree(warm_run, folder)
    run = Run.open(folder)
    dataset = read_dataset(run.data)
    trm = load_trm(run, dataset)
    policy = load_policy(str(run.policy("warm_start")), run.config.policy)
    selection = select(dataset, trm, run.config.selection, seed=0)
    sampler = build_sampler(run, dataset, trm, policy, "cold_start", selection)
    with trl.quiet_libraries():
        built = trl.build_trainer(policy, sampler, build_plan(run, "cold_start", "test"), [])
    built.model.train()
    built.current_gradient_accumulation_steps = 2
    return built


@pytest.fixture(scope="module")
def batch(trainer):
    """One iteration's batch: 4 users x 4 rollouts, as TRL hands it to the loss."""
    inputs = [{"prompt": str(position)} for position in (3, 0, 5, 1) for _ in range(4)]
    return trainer._generate_and_score_completions(inputs)


def sampled(batch):
    return (batch["completion_mask"] * batch["tool_mask"]).bool()


def test_the_batch_holds_the_rollouts_in_order(trainer, batch):
    # Sampling again with the same seed gives the same trajectories.
    sampler = trainer._sampler
    chosen = [sampler.examples[position] for position in (3, 0, 5, 1) for _ in range(4)]
    sampler._reseed(1, 0)
    trajectories = run_episodes(chosen, sampler.environment, greedy=False)
    assert len({trajectory.response_ids for trajectory in trajectories}) > 8
    for row, trajectory in enumerate(trajectories):
        length = len(trajectory.response_ids)
        assert batch["completion_ids"][row, :length].tolist() == list(trajectory.response_ids)
        assert sampled(batch)[row, :length].long().tolist() == list(trajectory.loss_mask)
        assert not sampled(batch)[row, length:].any()
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        assert prompt.tolist() == list(trajectory.prompt_ids)


def test_advantages_by_a_loop_over_tokens(trainer, batch):
    from deeprec.rewards.mixture import reward_parts

    sampler = trainer._sampler
    chosen = [sampler.examples[position] for position in (3, 0, 5, 1) for _ in range(4)]
    sampler._reseed(1, 0)
    trajectories = run_episodes(chosen, sampler.environment, greedy=False)
    rewards = mix(reward_parts(trajectories, chosen, sampler.space), sampler.weights)
    centered = [reward - sum(rewards[at - at % 4 : at - at % 4 + 4]) / 4 for at, reward in enumerate(rewards)]
    tokens = [
        value
        for value, trajectory in zip(centered, trajectories, strict=True)
        for _ in range(sum(trajectory.loss_mask))
    ]
    mean = sum(tokens) / len(tokens)
    deviation = (sum((value - mean) ** 2 for value in tokens) / len(tokens)) ** 0.5
    assert deviation > 0.05
    for row, (value, trajectory) in enumerate(zip(centered, trajectories, strict=True)):
        expected = [(value - mean) / deviation * mask for mask in trajectory.loss_mask]
        assert batch["advantages"][row, : len(expected)].tolist() == pytest.approx(expected, abs=1e-5)


def test_credit_by_step_by_a_loop_over_tokens(trainer, batch):
    """A token's advantage: what is earned from its step on, less the mean over those of its group that got there."""
    from deeprec.rewards.mixture import reward_parts
    from deeprec.rewards.steps import step_rewards, steps_of_tokens

    sampler = dataclasses.replace(trainer._sampler, by_step=True)
    sampler.sample([3] * 4 + [5] * 4, step=1)
    chosen = [sampler.examples[position] for position in (3, 5) for _ in range(4)]
    sampler._reseed(1, 0)
    trajectories = run_episodes(chosen, sampler.environment, greedy=False)
    parts = reward_parts(trajectories, chosen, sampler.space)
    earned, reached = [], []
    for at, (trajectory, example) in enumerate(zip(trajectories, chosen, strict=True)):
        own = {name: float(values[at]) for name, values in parts.items()}
        earned.append(step_rewards(trajectory, example, own, sampler.weights, sampler.space))
        reached.append(steps_of_tokens(trajectory, sampler.environment.codec).tolist())
    different = 0
    for at, row in enumerate(sampler.advantages):
        group = range(at - at % 4, at - at % 4 + 4)
        for step, advantage in zip(reached[at], row.tolist(), strict=True):
            later = [sum(v for s, v in earned[n].items() if s >= step) for n in group if step in reached[n]]
            mine = sum(v for s, v in earned[at].items() if s >= step)
            assert advantage == pytest.approx(mine - sum(later) / len(later) if step else 0.0, abs=1e-9)
            different += abs(advantage) > 1e-3
    assert different > 50


def test_torn_groups_are_refused(trainer):
    from deeprec.errors import TrainingError

    with pytest.raises(TrainingError, match="don't stand together"):
        trainer._sampler.sample([0, 0, 1, 1, 0, 0, 1, 1], step=1)


def test_log_probabilities_and_entropies_equal_trls_own(trainer, batch):
    from trl import GRPOTrainer

    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    wanted = sampled(batch)
    trainer._sampled = wanted.long()
    with torch.no_grad():
        arguments = (trainer.model, ids, attention, wanted.shape[1])
        ours = trainer._get_per_token_logps_and_entropies(*arguments, compute_entropy=True)
        theirs = GRPOTrainer._get_per_token_logps_and_entropies(trainer, *arguments, compute_entropy=True)
    for own, other in zip(ours[:2], theirs[:2], strict=True):
        torch.testing.assert_close(own[wanted], other[wanted], atol=1e-5, rtol=1e-5)
        assert not own[~wanted].any()
    assert trainer.temperature == 0.9  # the temperature is part of what agrees


def test_tiles_give_the_same_as_all_logits_at_once(trainer, batch, monkeypatch):
    from deeprec.rl import trainer as module

    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    trainer._sampled = sampled(batch).long()
    found = []
    for most, rows in ((2**28, None), (0, None), (0, 5)):
        monkeypatch.setattr(module, "_LOGITS_AT_ONCE", most)
        trainer.model.zero_grad()
        arguments = (trainer.model, ids, attention, trainer._sampled.shape[1], rows)
        logps, entropies, _ = trainer._get_per_token_logps_and_entropies(*arguments, compute_entropy=True)
        (logps * batch["advantages"]).sum().backward()
        found.append((logps.detach(), entropies, trainer.model.get_input_embeddings().weight.grad.clone()))
    trainer.model.zero_grad()
    for other in found[1:]:
        for ours, theirs in zip(found[0], other, strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert found[0][2].abs().max() > 1e-2


def test_rollouts_take_the_lean_pass_and_agree_with_the_trainer(trainer):
    from deeprec.rl.scoring import score_sampled

    sampler, model = trainer._sampler, trainer.model
    assert "forward" in vars(model)  # TRL put one of its own in front
    chosen = [sampler.examples[position] for position in (3, 0) for _ in range(4)]
    trajectories = run_episodes(chosen, sampler.environment, greedy=False)
    assert sampler.environment.engine._lean is not None
    for trajectory in trajectories:
        ids = torch.tensor([[*trajectory.prompt_ids, *trajectory.response_ids]])
        wanted = torch.tensor([[*[0] * len(trajectory.prompt_ids), *trajectory.loss_mask]])
        with torch.no_grad():
            logps = score_sampled(model, ids, torch.ones_like(ids), wanted, 1.0).log_probabilities
        assert logps[wanted.bool()].tolist() == pytest.approx(
            [logp for logp, mask in zip(trajectory.logprobs, trajectory.loss_mask, strict=True) if mask],
            abs=1e-4,
        )


def test_the_gradient_is_that_of_a_slow_loop(trainer, batch):
    """Policy gradient over sampled tokens, one trajectory at a time, with a plain forward."""
    model = trainer.model
    model.zero_grad()
    expected_loss = 0.0
    for row in range(16):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        length = int(batch["completion_mask"][row].sum())
        response = batch["completion_ids"][row, :length]
        logits = model(torch.cat([prompt, response])[None]).logits[0] / trainer.temperature
        logps = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(1, response[:, None])[:, 0]
        picked = logps[sampled(batch)[row, :length]]
        loss = -(torch.exp(picked - picked.detach()) * batch["advantages"][row][sampled(batch)[row]]).sum()
        loss = loss / sampled(batch).sum()
        loss.backward()
        expected_loss += loss.item()
    expected = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    loss = trainer._compute_loss(model, batch)
    loss.backward()
    assert loss.item() == pytest.approx(expected_loss, abs=1e-5)
    assert max(grad.abs().max().item() for grad in expected.values()) > 1e-3
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name], atol=1e-5, rtol=1e-4, msg=name)
    model.zero_grad()


def test_environment_tokens_carry_exactly_zero_gradient(trainer, batch):
    """What the model says at a position that predicts an environment token doesn't matter."""
    states = []

    def remember(_, __, output):
        output.last_hidden_state.retain_grad()
        states.append(output.last_hidden_state)

    handle = trainer.model.model.register_forward_hook(remember)
    try:
        trainer._compute_loss(trainer.model, batch).backward()
    finally:
        handle.remove()
        trainer.model.zero_grad()
    (hidden,) = states  # rows start at their first token: padding stands behind
    environment = 0
    for row in range(16):
        prompt = int(batch["prompt_mask"][row].sum())
        mask = sampled(batch)[row, : int(batch["completion_mask"][row].sum())]
        predicting = hidden.grad[row, prompt - 1 : prompt - 1 + len(mask)].abs().sum(-1)
        environment += int((~mask).sum())
        assert (predicting[~mask] == 0.0).all()
        assert (hidden.grad[row, : prompt - 1] == 0.0).all()
        if batch["advantages"][row].abs().max() > 1e-3:
            assert (predicting[mask] > 0.0).all()
    assert environment > 50  # there was something to mask


def test_what_trl_makes_of_the_reward_is_logged_and_not_used(trainer, batch):
    """TRL's advantages are of its own baseline by trajectory: every token has ours."""
    assert np.mean(trainer._metrics["train"]["reward"]) == pytest.approx(
        trainer._sampler.figures["reward"], abs=1e-6
    )
    assert batch["advantages"].shape == batch["completion_ids"].shape
    assert not batch["advantages"][~sampled(batch)].any()


def test_processes_that_share_an_iteration_whiten_by_the_moments_of_all(tmp_path):
    """Two real processes, with unlike halves of one batch, beside one that has all of it."""
    rng = np.random.default_rng(0)
    lengths = np.array([3, 7, 0, 5, 2, 9, 4, 1])
    sampled = (np.arange(9) < lengths[:, None]) * rng.integers(0, 2, size=(8, 9))
    advantages = np.where(sampled, rng.normal(size=(8, 9)) + np.arange(8)[:, None], 0.0)
    tokens = advantages[sampled.astype(bool)]
    expected = np.where(sampled, (advantages - tokens.mean()) / tokens.std(), 0.0)
    for rank, rows in enumerate((slice(0, 4), slice(4, 8))):
        width = lengths[rows].max()  # each process pads to its own longest response
        np.savez(
            tmp_path / f"half{rank}.npz",
            advantages=advantages[rows],
            sampled=sampled[rows, :width],
            lengths=lengths[rows],
        )
    program = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(program), str(tmp_path)],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    for rank, rows in enumerate((slice(0, 4), slice(4, 8))):
        found = np.load(tmp_path / f"found{rank}.npy")
        np.testing.assert_allclose(found, expected[rows, : found.shape[1]], atol=1e-6)
