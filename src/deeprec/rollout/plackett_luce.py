"""Ranked lists as draws without replacement from one distribution (Plackett-Luce): pure functions.

Line 1 is drawn from the softmax of the logits, line 2 from what is left, renormalised, and so on.
The same functions serve sampling and training, so that both mean the same distribution. Shapes: B
rows, P places of a pool, L lists a row, K lines. A place that may not be listed has the logit
`NEVER`; a line that no place was left for is -1.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEVER = -1e9  # finite: the gradient of a softmax over nothing but infinities is not a number


def greedy_lists(logits: Tensor, size: int) -> Tensor:
    """The likeliest list of each row: places (B, 1, K) by falling logit, equals in order."""
    # Stable: of equals the one found first leads, on a processor as on a GPU.
    order = torch.sort(logits, dim=-1, descending=True, stable=True).indices[:, None, :size]
    return _cut(order, logits)


def draw_lists(logits: Tensor, uniforms: Tensor, size: int) -> Tensor:
    """Lists (B, L, K) of places, drawn with `uniforms` (B, L, P) in [0, 1).

    By Gumbel's trick: the places of the K largest logits, each with noise of its own, are K draws
    without replacement (arXiv 1903.06059, section 2.3).
    """
    # Of 0 the logarithm is infinite, and of 1 the noise: both are kept a rounding away.
    inside = uniforms.double().clamp(1e-12, 1 - 1e-12)
    noisy = logits.double()[:, None] - torch.log(-torch.log(inside))
    order = torch.sort(noisy, dim=-1, descending=True, stable=True).indices[..., :size]
    return _cut(order, logits)


def _cut(order: Tensor, logits: Tensor) -> Tensor:
    """Lines behind the last place that may be listed become -1."""
    # Half way: a temperature or a prior may have moved a logit away from `NEVER` itself.
    left = (logits > NEVER / 2).sum(dim=-1)[:, None, None]
    lines = torch.arange(order.shape[-1], device=order.device)
    return torch.where(lines < left, order, -1)


def line_log_probs(logits: Tensor, lists: Tensor) -> Tensor:
    """Natural-log probability (B, L, K) of each line given the lines above it; 0 where a line is -1.

    log p(l_k | l_1 ... l_k-1) = z(l_k) - log sum of exp z(i) over the places i that no line above holds.
    """
    lists, written = lists.clamp(min=0), lists >= 0
    every = logits[:, None].expand(-1, lists.shape[1], -1)
    chosen = every.gather(2, lists)
    return torch.where(written, chosen - _left(every, lists), 0.0)


def line_entropies(logits: Tensor, lists: Tensor) -> Tensor:
    """Entropy (B, L, K) in nats of the distribution that each line was drawn from; 0 where a line is -1.

    H_k = - sum of p_k(i) log p_k(i) over the places i that are left for line k.
    """
    found = []
    for shares in _shares(logits, lists):
        found.append(-torch.special.xlogy(shares, shares).sum(dim=-1))
    return (
        torch.where(lists >= 0, torch.stack(found, dim=-1), 0.0) if found else logits.new_zeros(lists.shape)
    )


def _left(every: Tensor, lists: Tensor) -> Tensor:
    """Log of the sum of all that is left before each line (B, L, K)."""
    sums = []
    for line in range(lists.shape[-1]):
        sums.append(torch.logsumexp(every, dim=-1))
        every = every.scatter(2, lists[..., line : line + 1], NEVER)
    return torch.stack(sums, dim=-1) if sums else every.new_zeros(lists.shape)


def _shares(logits: Tensor, lists: Tensor) -> list[Tensor]:
    """For each line the distribution (B, L, P) that it was drawn from."""
    every = logits[:, None].expand(-1, lists.shape[1], -1)
    found = []
    for line in range(lists.shape[-1]):
        found.append(torch.softmax(every, dim=-1))
        every = every.scatter(2, lists[..., line : line + 1].clamp(min=0), NEVER)
    return found
