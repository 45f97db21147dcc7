"""Log-probabilities and entropies of sampled tokens, and of those only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deeprec.rollout.likelihood import logits_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def score_sampled(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, sampled: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy at each position of `sampled` (B, T); 0.0 elsewhere.

    Position t holds what the tokens before t say of token t. `input_ids` and
    `attention_mask` are (B, T), padded on either side. Log-probabilities carry a gradient,
    entropies don't (they are only watched).
    """
    packed, order = _pack(attention_mask)
    ids, wanted = input_ids.gather(1, order)[:, :packed], sampled.bool().gather(1, order)[:, :packed]
    # Padding stands behind every row now, where causal attention never looks: no mask is
    # needed, which lets attention take its fast path.
    logits = logits_of(model, ids, torch.ones_like(ids), wanted).float()
    if temperature != 1.0:
        logits = logits / temperature
    targets = ids[:, 1:][wanted[:, 1:]]
    log_probabilities = torch.log_softmax(logits, dim=-1)  # (N, V)
    chosen = log_probabilities.gather(1, targets.unsqueeze(1)).squeeze(1)  # (N,)
    with torch.no_grad():
        entropies = -(log_probabilities.exp() * log_probabilities).sum(dim=-1)
    where = sampled.bool()
    blank = torch.zeros(sampled.shape, dtype=torch.float32, device=chosen.device)
    # Packing keeps the order of tokens within a row, so both layouts list the same N tokens alike.
    return blank.masked_scatter(where, chosen), blank.masked_scatter(where, entropies)


def _pack(attention_mask: Tensor) -> tuple[int, Tensor]:
    """Length of the longest row, and the order of columns that moves all padding behind it."""
    order = (1 - attention_mask).argsort(dim=1, stable=True)
    return int(attention_mask.sum(dim=1).max()), order
