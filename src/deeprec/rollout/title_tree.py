"""Log-likelihoods of many titles of many tokens behind one context, which is read once.

All titles of a pool stand behind the context in one row, and attention is masked so that each sees
the context and itself alone. Repeating the context for each title would cost as many rows as the pool has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deeprec.rollout.likelihood import logits_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = tuple[int, ...]


def tree_tokens(context: Ids, titles: Sequence[Ids]) -> int:
    """Tokens of a row."""
    return len(context) + sum(len(title) for title in titles)


def title_likelihoods(model: PreTrainedModel, rows: Sequence[tuple[Ids, Sequence[Ids]]]) -> list[Tensor]:
    """Natural-log likelihood (P,) of each title of a row right behind its context: the sum over its tokens.

    Carries a gradient where the caller asks for one. A row's values don't depend on the rows beside
    it. `model` must take positions and a mask of its own for each pair of tokens (attention `sdpa` or `eager`).
    """
    width = max(tree_tokens(context, titles) for context, titles in rows) + 1
    device = model.device
    ids = torch.zeros((len(rows), width), dtype=torch.long, device=device)
    positions = torch.zeros_like(ids)
    seen = torch.eye(width, dtype=torch.bool, device=device).repeat(len(rows), 1, 1)  # padding sees itself
    asked = torch.zeros_like(ids)  # 1 behind each place whose logits are needed
    for row, (context, titles) in enumerate(rows):
        _place(row, context, titles, ids, positions, seen, asked)
    # Added to the scores, not true and false: `eager` attention knows no other kind.
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=device)
    mask.masked_fill_(~seen, torch.finfo(model.dtype).min)
    logits = logits_of(model, ids, mask[:, None], asked, positions)
    # In float32: in bfloat16 a sum over tokens is off by whole places of a list.
    logs = torch.log_softmax(logits.float(), dim=-1)
    found, first = [], 0
    for _, titles in rows:
        count = 1 + sum(len(title) - 1 for title in titles)
        found.append(_sums(logs[first : first + count], titles))
        first += count
    return found


def _place(
    row: int,
    context: Ids,
    titles: Sequence[Ids],
    ids: Tensor,
    positions: Tensor,
    seen: Tensor,
    asked: Tensor,
) -> None:
    """Fill one row: the context, then the titles, each at the positions that follow the context."""
    length = len(context)
    ids[row, :length] = torch.tensor(context)
    positions[row, :length] = torch.arange(length)
    seen[row, :length, :length] = torch.ones(length, length, dtype=torch.bool).tril()
    asked[row, length] = 1  # what the context's last token predicts: every title's first token
    start = length
    for title in titles:
        end = start + len(title)
        ids[row, start:end] = torch.tensor(title)
        positions[row, start:end] = torch.arange(length, length + len(title))
        seen[row, start:end, :length] = True
        seen[row, start:end, start:end] = torch.ones(len(title), len(title), dtype=torch.bool).tril()
        asked[row, start + 1 : end] = 1
        start = end


def _sums(logs: Tensor, titles: Sequence[Ids]) -> Tensor:
    """Sums (P,) over titles, of log-probabilities (1 + all tokens but each title's last, V)."""
    sums, place = [], 1
    for title in titles:
        rest = torch.tensor(title[1:], dtype=torch.long, device=logs.device)
        behind = logs[place : place + len(rest)].gather(1, rest[:, None])
        sums.append(logs[0, title[0]] + behind.sum())
        place += len(rest)
    return torch.stack(sums) if sums else logs.new_zeros(0)
