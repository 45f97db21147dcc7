"""A tiny policy, taught by examples (supervised) or by rewards (REINFORCE++ with a group baseline).

Model, engine, advantages and scoring are deeprec's own; the loop and the loss are written out,
for they are what this example is about. The pipeline leaves both to TRL (`deeprec.rl.trl`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from toy_language import OPENINGS, Reward, Words, build_tokenizer, distinct_share, whole_share

from deeprec.config import PolicyConfig, RLConfig
from deeprec.policy.tiny import build_tiny
from deeprec.rl.advantages import (
    center,
    credit_trajectory,
    groups_without_signal,
    token_sums,
    whiten,
)
from deeprec.rl.scoring import score_sampled
from deeprec.rollout.codec import TokenizerCodec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.local import LocalEngine

ROLLOUTS = 8  # texts that begin with the same word: one group
UPDATES = 2  # optimizer steps on the same texts; only from the second on can clipping matter
LONGEST = 20  # tokens of a text without its first word

_SHAPE = PolicyConfig(width=32, layers=1, heads=4, key_value_heads=2, inner=64, context=64)
_CLIP_LOW, _CLIP_HIGH = 1 - RLConfig().clip[0], 1 + RLConfig().clip[1]


@dataclass(frozen=True)
class Step:
    """What one step sampled, before it changed the weights."""

    texts: Sequence[Words]
    reward: float  # mean over texts
    entropy: float  # mean over sampled tokens, nats
    distinct: float  # distinct words / words
    whole: float  # share of texts that are one whole sentence
    tied: float  # share of groups without signal


@dataclass(frozen=True)
class Batch:
    """Texts as tensors (B, T), padded behind. `sampled` is 1 exactly where the policy wrote."""

    ids: Tensor
    attention: Tensor
    sampled: Tensor
    old: Tensor  # log-probabilities at the time of sampling

    @staticmethod
    def of(openings: Sequence[int], segments: Sequence[Segment]) -> Batch:
        """Each opening is environment, each segment was sampled."""
        shape = len(segments), 1 + max(len(segment.token_ids) for segment in segments)
        ids, attention = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        sampled, old = torch.zeros(shape), torch.zeros(shape)
        for row, (opening, segment) in enumerate(zip(openings, segments, strict=True)):
            end = 1 + len(segment.token_ids)
            ids[row, :end] = torch.tensor([opening, *segment.token_ids])
            old[row, 1:end] = torch.tensor(segment.logprobs)
            attention[row, :end], sampled[row, 1:end] = 1, 1
        return Batch(ids, attention, sampled, old)


def clipped_loss(logprobs: Tensor, old: Tensor, advantages: Tensor, sampled: Tensor) -> Tensor:
    """PPO's clipped loss as a mean over sampled tokens.

    All are (B, T). A token that the policy did not
    sample (`sampled` 0) adds nothing and gets no gradient, whatever its text earned.
    """
    ratio = (logprobs - old).exp()
    gain = torch.minimum(ratio * advantages, ratio.clamp(_CLIP_LOW, _CLIP_HIGH) * advantages)
    return -(gain * sampled).sum() / sampled.sum()


def token_advantages(rewards: NDArray[np.float64], sampled: Tensor) -> Tensor:
    """Each text's reward (B,) less its group's mean, whitened over all sampled tokens: (B, T)."""
    mask = sampled.numpy().astype(np.int64)
    credits = [credit_trajectory(row, reward) for row, reward in zip(mask.tolist(), rewards, strict=True)]
    centered = np.stack(center(credits, ROLLOUTS))
    return torch.from_numpy(whiten(centered, mask, token_sums(centered, mask))).float()


class ToyPolicy:
    """deeprec's embedded model with random weights, and the engine that samples from it."""

    def __init__(self, seed: int) -> None:
        tokenizer = build_tokenizer()
        self.codec = TokenizerCodec(tokenizer)
        self.model = build_tiny(_SHAPE, tokenizer, seed)
        self.engine = LocalEngine(self.model, seed=seed)
        self.openings = [self.codec.encode(word)[0] for word in OPENINGS for _ in range(ROLLOUTS)]

    def sample(self) -> list[Segment]:
        """One text for each opening; the texts of a group stand together."""
        requests = [Request(key, (opening,), LONGEST) for key, opening in enumerate(self.openings)]
        # As in training by the published settings: the unlikeliest twentieth is never drawn.
        settings = Sampling(1.0, 0.95, LONGEST, stop_ids=frozenset({self.codec.eos_id}))
        segments = self.engine.generate(requests, settings)
        self.engine.forget()  # the weights are about to change
        return segments

    @torch.no_grad()
    def expected(self, word: str) -> float:
        """Times that a text holds the word, by the model's own probabilities, nothing cut off."""
        batch = Batch.of(self.openings, self.sample())
        logits = self.model(input_ids=batch.ids, attention_mask=batch.attention).logits
        chances = logits.softmax(dim=-1)[:, :-1, self.codec.encode(word)[0]]
        return float((chances * batch.sampled[:, 1:]).sum() / len(batch.ids))

    def teach(self, sentences: Sequence[Words], epochs: int) -> None:
        """Supervised: make whole sentences likelier."""
        rows = [self.codec.encode(" ".join(words)) for words in sentences]
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-2)
        for start in epochs * list(range(0, len(rows), 64)):
            part = rows[start : start + 64]
            written = [Segment(tuple(row[1:]), (0.0,) * len(row[1:]), True) for row in part]
            batch = Batch.of([row[0] for row in part], written)
            scores = score_sampled(self.model, batch.ids, batch.attention, batch.sampled, 1.0)
            self._update(optimizer, -scores.log_probabilities.sum() / batch.sampled.sum())

    def reinforce(self, reward: Reward, steps: int) -> Iterator[Step]:
        """Sample, reward, update; yields the figures of each step."""
        optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95))
        for _ in range(steps):
            segments = self.sample()
            batch = Batch.of(self.openings, segments)
            texts = [
                self.codec.decode([opening, *segment.token_ids]).split()
                for opening, segment in zip(self.openings, segments, strict=True)
            ]
            rewards = np.array([reward(words) for words in texts])
            advantages = token_advantages(rewards, batch.sampled)
            entropies = []
            for _ in range(UPDATES):
                scores = score_sampled(self.model, batch.ids, batch.attention, batch.sampled, 1.0)
                loss = clipped_loss(scores.log_probabilities, batch.old, advantages, batch.sampled)
                self._update(optimizer, loss)
                entropies.append(float(scores.entropies.sum() / batch.sampled.sum()))
            yield Step(
                texts=texts,
                reward=float(rewards.mean()),
                entropy=entropies[0],
                distinct=distinct_share(texts),
                whole=whole_share(texts),
                tied=groups_without_signal(rewards, ROLLOUTS),
            )

    def _update(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
