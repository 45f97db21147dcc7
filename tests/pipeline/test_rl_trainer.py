"""The trainer against slow references, on a real tiny model and real rollouts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deeprec.rewards.mixture import PARTS, mix
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
    expected = [(value - mean) / deviation for value in centered]
    assert batch["advantages"].tolist() == pytest.approx(expected, abs=1e-5)


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
            logps, _ = score_sampled(model, ids, torch.ones_like(ids), wanted, 1.0)
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
        loss = -(torch.exp(picked - picked.detach()) * batch["advantages"][row]).sum()
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
        if batch["advantages"][row].abs() > 1e-3:
            assert (predicting[mask] > 0.0).all()
    assert environment > 50  # there was something to mask


def test_trl_logs_every_part_and_mixes_by_our_weights(trainer, batch):
    logged = trainer._metrics["train"]
    means = {part: np.mean(logged[f"rewards/{part}/mean"]) for part in PARTS}
    figures = trainer._sampler.figures
    assert means["format"] == pytest.approx(figures["reward/format"], abs=1e-6)
    expected = sum(weight * means[part] for part, weight in trainer._sampler.weights.items())
    assert np.mean(logged["reward"]) == pytest.approx(expected, abs=1e-6)
