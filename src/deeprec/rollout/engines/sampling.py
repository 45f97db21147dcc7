"""Drawing tokens from logits: pure functions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_HEAD = 256  # tokens looked at first for a nucleus; the rest is sorted only if they don't hold enough


def draw(logits: Tensor, uniforms: Tensor | None, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """One token a row from logits (B, V), and its natural-log probability at temperature 1.

    `uniforms` (B,) in [0, 1) select by inverse CDF, which costs a fraction of
    `torch.multinomial`; None takes the likeliest token (the lowest id among equals).
    The log-probability is over the whole vocabulary, before temperature and nucleus.
    """
    logits = logits.float()
    if uniforms is None:
        tokens = logits.argmax(dim=-1)
    else:
        scaled = logits if temperature == 1.0 else logits / temperature
        probabilities = scaled.softmax(dim=-1)
        tokens = (
            _invert(probabilities, uniforms) if top_p >= 1.0 else _nucleus(probabilities, uniforms, top_p)
        )
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    return tokens, chosen - logits.logsumexp(dim=-1)


def _nucleus(probabilities: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw from the smallest set of likeliest tokens that together hold at least `top_p`."""
    size = probabilities.shape[1]
    head, ids = probabilities.topk(min(_HEAD, size), dim=-1)
    if head.shape[1] < size and bool((head.sum(dim=-1) < top_p).any()):
        head, ids = probabilities.sort(dim=-1, descending=True)
    before = head.cumsum(dim=-1) - head
    kept = torch.where(before < top_p, head, 0.0)
    return ids.gather(1, _invert(kept, uniforms)[:, None])[:, 0]


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Position (B,) at which the running sum of weights (B, N) passes the share `uniforms` of its total."""
    sums = weights.cumsum(dim=-1)
    total = sums[:, -1]
    # Rounding may lift u * total to the total itself, beyond the last token with any weight.
    aims = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, aims[:, None], right=True)[:, 0]


def uniforms_for(seed: int, part: int, key: int, start: int, count: int) -> NDArray[np.float32]:
    """`count` numbers in [0, 1) that depend on nothing but the arguments.

    Philox is counter-based: an episode (`key`) at a length (`start`) always draws the same
    numbers, whoever shares its batch.
    """
    mask = (1 << 64) - 1
    stream = np.random.Philox(key=[seed & mask, key & mask], counter=[0, start, part & mask, 0])
    return np.random.Generator(stream).random(count, dtype=np.float32)
