"""Log-probabilities and entropies of sampled tokens, and of those only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from deeprec.rollout.likelihood import logits_of
from deeprec.trm.softmax import rows_at_once

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Scores:
    """What a model says of some positions of a batch.

    `log_probabilities` and `entropies` (B, T) of sampled tokens, 0.0 elsewhere; `spoken` (N, V) the logits that
    they come from, row by row, as the model gave them.
    """

    log_probabilities: Tensor
    entropies: Tensor
    spoken: Tensor


def score_sampled(
    model: PreTrainedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    sampled: Tensor,
    temperature: float,
) -> Scores:
    """Log-probability and entropy at each position of `sampled` (B, T).

    Position t holds what the tokens before t say of token t. `input_ids` and
    `attention_mask` are (B, T), padded on either side.
    Log-probabilities and logits carry a gradient, entropies don't (they are only watched).
    """
    where = sampled.bool()
    packed, order = _pack(attention_mask)
    ids, wanted = input_ids.gather(1, order)[:, :packed], where.gather(1, order)[:, :packed]
    # Padding stands behind every row now, where causal attention never looks: no mask is
    # needed, which lets attention take its fast path.
    spoken = logits_of(model, ids, torch.ones_like(ids), wanted).float()
    # Packing keeps the order of tokens within a row, so both layouts list the same tokens alike.
    logits = spoken if temperature == 1.0 else spoken / temperature
    targets = ids[:, 1:][wanted[:, 1:]]
    log_probabilities = torch.log_softmax(logits, dim=-1)  # (N, V)
    chosen = log_probabilities.gather(1, targets.unsqueeze(1)).squeeze(1)  # (N,)
    # Watched alone: with a gradient they would keep all (N, V) of them in memory.
    with torch.no_grad():
        blocks = torch.split(log_probabilities, rows_at_once(logits.shape[1], logits.device))
        entropies = torch.cat([-(block.exp() * block).sum(dim=-1) for block in blocks])
    blank = torch.zeros(sampled.shape, dtype=torch.float32, device=chosen.device)
    return Scores(blank.masked_scatter(where, chosen), blank.masked_scatter(where, entropies), spoken)


def score_in_tiles(
    model: Any, input_ids: Tensor, attention_mask: Tensor, sampled: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy as `score_sampled` gives them, without ever holding all logits.

    `model` bears TRL's fused head (`trl.trainer.utils.add_fused_lm_head`, which knows the temperature), and may be
    wrapped. Rows are packed as there: a left-padded row would be read at the wrong positions by a model that
    counts them by columns, and beyond the last one it has.
    """
    packed, order = _pack(attention_mask)
    ids, wanted = input_ids.gather(1, order)[:, :packed], sampled.bool().gather(1, order)[:, :packed]
    found = model(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        labels=ids.masked_fill(~wanted, -100),
        fused_lm_head=True,
    )
    where, told = sampled.bool(), wanted[:, 1:]
    blank = torch.zeros(sampled.shape, dtype=torch.float32, device=found.log_probs.device)
    chances, entropies = found.log_probs[told].float(), found.entropy[told].detach().float()
    return blank.masked_scatter(where, chances), blank.masked_scatter(where, entropies)


def _pack(attention_mask: Tensor) -> tuple[int, Tensor]:
    """Length of the longest row, and the order of columns that moves all padding behind it."""
    order = (1 - attention_mask).argsort(dim=1, stable=True)
    return int(attention_mask.sum(dim=1).max()), order
