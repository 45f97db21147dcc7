"""The part of RL's loss that lists bring, and the pull towards the policy that the stage started from.

A list is a choice among items, so its probability is not a token's: it is computed here, from the
same distribution that drew it (`rollout.masked`), with a gradient. Lists come several from one
position, which costs no further pass.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from deeprec.data.catalog import Catalog
from deeprec.policy.loading import Policy
from deeprec.rl.list_credit import ListPlan
from deeprec.rollout.likelihood import last_logits
from deeprec.rollout.masked import list_logits
from deeprec.rollout.plackett_luce import NEVER, line_entropies, line_log_probs
from deeprec.rollout.title_tree import title_likelihoods
from deeprec.rollout.titles import TitleTexts
from deeprec.trm.softmax import rows_at_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class ListBatch:
    """Draws as tensors: B rows, P places, L lists, K lines; padded with item 0, and with line -1."""

    pool: Tensor  # (B, P) items
    prior: Tensor  # (B, P)
    sharpness: Tensor  # (B, 1)
    lists: Tensor  # (B, L, K) places in the pool
    logprobs: Tensor  # (B, L, K), of sampling
    advantages: Tensor  # (B, L, K)

    @classmethod
    def of(cls, plans: Sequence[ListPlan], device: torch.device) -> ListBatch:
        """Raises ValueError where two rows have other numbers of lists."""
        places = max(len(plan.draw.pool) for plan in plans)
        lines = max(len(row) for plan in plans for row in plan.draw.lists)
        count = {len(plan.draw.lists) for plan in plans}
        if len(count) > 1:
            raise ValueError(f"draws of {sorted(count)} lists don't make one batch")
        shape = (len(plans), count.pop(), lines)
        pool, prior = np.zeros((len(plans), places), np.int64), np.zeros((len(plans), places), np.float32)
        lists = np.full(shape, -1, np.int64)
        logprobs, advantages = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for row, plan in enumerate(plans):
            draw = plan.draw
            size, long = len(draw.pool), len(draw.lists[0])
            pool[row, :size], prior[row, :size] = draw.pool, draw.prior
            at = {item: place for place, item in enumerate(draw.pool)}
            lists[row, :, :long] = [[at[item] for item in found] for found in draw.lists]
            logprobs[row, :, :long], advantages[row, :, :long] = draw.logprobs, plan.advantages
        sharpness = np.array([[plan.draw.sharpness] for plan in plans], np.float32)
        arrays = (pool, prior, sharpness, lists, logprobs, advantages)
        tensors = (torch.from_numpy(array).to(device) for array in arrays)
        return cls(*tensors)


@dataclass(frozen=True)
class ListLoss:
    """The loss of a batch of lists (a mean over lists of sums over lines), and figures to watch."""

    loss: Tensor
    ratio: float  # mean over lines
    entropy: float  # nats a line
    clipped: float  # share of lines


def list_loss(
    likelihood: Tensor, batch: ListBatch, *, temperature: float, clip_low: float, clip_high: float
) -> ListLoss:
    """PPO's clipped loss on drawn lists, from the log-likelihoods (B, P) of the pools' titles.

    - mean over lists of sum over lines k of min(r A, clip(r, 1 - low, 1 + high) A), where
    r = exp(log p(l_k | lines above) - the same when it was sampled), and A is the line's advantage.
    """
    # What sampling divided by the temperature was likelihood and prior together.
    logits = list_logits(likelihood, batch.prior, batch.pool > 0, batch.sharpness) / temperature
    logs = line_log_probs(logits, batch.lists)
    written = batch.lists >= 0
    # Lines that were not written have no ratio: they count nothing, and move no figure.
    ratios = torch.where(written, (logs - batch.logprobs).exp(), 1.0)
    kept = ratios.clamp(1 - clip_low, 1 + clip_high)
    gains = torch.minimum(ratios * batch.advantages, kept * batch.advantages) * written
    with torch.no_grad():
        count = written.sum().clamp(min=1)
        entropy = line_entropies(logits, batch.lists).sum() / count
        clipped = ((ratios * batch.advantages > gains) & written).sum() / count
        ratio = (ratios * written).sum() / count
    return ListLoss(-gains.sum(dim=2).mean(), float(ratio), float(entropy), float(clipped))


def pull(logits: Tensor, start: Tensor) -> Tensor:
    """Mean over rows of KL(start || present) in nats, of logits (N, V); 0 without rows.

    KL = sum over v of p_start(v) (log p_start(v) - log p_present(v)).
    In this direction what the start held likely must not be lost. `start` gets no gradient.
    """
    if not len(logits):
        return logits.sum()  # a zero that backward can go through
    found: Tensor = _Pull.apply(logits.float(), start.float())  # type: ignore[no-untyped-call]
    return found


class _Pull(torch.autograd.Function):
    """The gradient written out, p_present - p_start, block by block: half of autograd's time on wide tables."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, start: Tensor) -> Tensor:
        gradient = torch.empty_like(logits)
        total = torch.zeros((), device=logits.device)
        rows = rows_at_once(logits.shape[1], logits.device)
        blocks = (torch.split(each, rows) for each in (logits, start, gradient))
        for present, former, out in zip(*blocks, strict=True):
            now, then = present.log_softmax(dim=-1), former.log_softmax(dim=-1)
            chance = then.exp()
            total += (chance * (then - now)).sum()
            torch.sub(now.exp_(), chance, out=out)
        ctx.save_for_backward(gradient)
        return total / len(logits)

    @staticmethod
    def backward(ctx: Any, *given: Any) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * (given[0] / len(gradient)), None


class ListTerm:
    """What drawn lists, and the pull, add to the loss of a stage.

    `start` is the policy that the stage began with, held still; with LoRA adapters it is the model
    without them. Without a `weight` nothing pulls.
    """

    def __init__(
        self,
        policy: Policy,
        catalog: Catalog,
        *,
        temperature: float,
        clip: tuple[float, float],
        weight: float,
    ) -> None:
        self._titles = TitleTexts(policy.codec, catalog)
        self._tokens = self._title_tokens(catalog)
        self._temperature, self._clip, self._weight = temperature, clip, weight
        has_adapters = hasattr(policy.model, "disable_adapter")
        self._start = None if has_adapters or not weight else _held_still(policy.model)

    def _title_tokens(self, catalog: Catalog) -> Tensor | None:
        """The token (n_items,) of every title; None where titles are several tokens."""
        if not self._titles.is_compact:
            return None
        return torch.tensor([self._titles.title(item)[0] for item in range(1, catalog.n_items + 1)])

    def added(
        self,
        model: PreTrainedModel,
        plans: Sequence[ListPlan | None],
        spoken: Tensor | None,
        score: Callable[[PreTrainedModel], Tensor],
    ) -> tuple[Tensor, dict[str, float]]:
        """What is added to the loss, and figures to watch.

        `plans` are those of the batch's rows, None without a list; `spoken` the logits (N, V) of its sampled tokens
        as `model` gave them, None where nobody kept them; `score` asks another model the same.
        """
        figures: dict[str, float] = {}
        drawn = [plan for plan in plans if plan is not None]
        batch = ListBatch.of(drawn, model.device) if drawn else None
        total = torch.zeros((), device=model.device)
        if batch is not None:
            titles = self._title_logits(model, drawn, batch)
            low, high = self._clip
            likelihood = self._of_pool(titles, batch)
            found = list_loss(likelihood, batch, temperature=self._temperature, clip_low=low, clip_high=high)
            # A mean over all trajectories: a list must not weigh more because others failed to open one.
            total = total + found.loss * (len(drawn) / len(plans))
            figures |= {
                "list_entropy": found.entropy,
                "list_ratio": found.ratio,
                "list_clipped": found.clipped,
            }
        if self._weight:
            pulled = torch.zeros((), device=model.device)
            with self._without_training(model) as start, torch.no_grad():
                said = None if spoken is None else score(start)
                before = None if batch is None else self._title_logits(start, drawn, batch)
            if spoken is not None and said is not None:
                pulled = pulled + pull(spoken, said)
            if before is not None:
                pulled = pulled + pull(titles, before)
            total = total + self._weight * pulled
            figures["pull"] = pulled.item()
        return total, figures

    def _title_logits(self, model: PreTrainedModel, plans: Sequence[ListPlan], batch: ListBatch) -> Tensor:
        """Logits of the whole catalogue's titles (B, n_items), or of the pool's alone (B, P) where they are long."""
        contexts = [plan.draw.context for plan in plans]
        if self._tokens is not None:
            distinct = {
                context: place for place, context in enumerate(dict.fromkeys(contexts))
            }  # groups share one
            logits = last_logits(model, list(distinct))[:, self._tokens.to(model.device)]
            return logits[[distinct[context] for context in contexts]]
        rows = [
            (ids, [self._titles.title(item) for item in pool if item])
            for ids, pool in zip(contexts, batch.pool.tolist(), strict=True)
        ]
        # Each pool by itself: a whole catalogue of long titles would be too many to read for each list.
        found = title_likelihoods(model, rows)
        return torch.nn.utils.rnn.pad_sequence(found, batch_first=True, padding_value=NEVER)

    def _of_pool(self, titles: Tensor, batch: ListBatch) -> Tensor:
        """Log-likelihoods (B, P) of the pool's titles, but for a constant of the row."""
        if self._tokens is None:
            return titles
        return torch.log_softmax(titles, dim=-1).gather(1, (batch.pool - 1).clamp(min=0))

    @contextmanager
    def _without_training(self, model: Any) -> Iterator[PreTrainedModel]:
        """The policy that the stage began with."""
        if self._start is not None:
            yield self._start.to(model.device)
        else:
            with model.disable_adapter():
                yield model


def _held_still(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that isn't trained."""
    start = copy.deepcopy(model).eval()
    start.requires_grad_(False)
    return start
