"""Drawing tokens from logits: pure functions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TRIES = 4  # draws for a nucleus before the vocabulary is sorted
_BLOCK = 64
WIDTH = TRIES + 1  # random numbers that one token may use up


def draw(logits: Tensor, uniforms: Tensor | None, temperature: float, top_p: float) -> tuple[Tensor, Tensor]:
    """One token a row from logits (B, V), and its natural-log probability at temperature 1.

    `uniforms` (B, WIDTH) in [0, 1) select by inverse CDF, which costs a fraction of
    `torch.multinomial`; None takes the likeliest token (the lowest id among equals).
    The log-probability is over the whole vocabulary, before temperature and nucleus.
    """
    logits = logits.float()
    if uniforms is None:
        tokens = _likeliest(logits)
        return tokens, logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]
    scaled = logits if temperature == 1.0 else logits / temperature
    probabilities = scaled.softmax(dim=-1)
    sums = probabilities.cumsum(dim=-1)
    whole = top_p >= 1.0  # then there is nothing outside to fall into
    tokens = _invert(sums, uniforms[:, 0]) if whole else _nucleus(probabilities, sums, uniforms, top_p)
    if temperature == 1.0:
        # What was drawn moved a running sum of float32: it is far from vanishing.
        return tokens, probabilities.gather(1, tokens[:, None])[:, 0].log()
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    return tokens, chosen - logits.logsumexp(dim=-1)


def _likeliest(logits: Tensor) -> Tensor:
    """Position (B,) of each row's largest value, the first among equals.

    By blocks: on a processor `argmax` takes ten times as long as the largest value alone.
    """
    whole = logits.shape[1] // _BLOCK * _BLOCK
    largest = [logits[:, :whole].view(len(logits), -1, _BLOCK).amax(dim=-1)]
    if whole < logits.shape[1]:
        largest.append(logits[:, whole:].amax(dim=-1, keepdim=True))
    first = torch.cat(largest, dim=1).argmax(dim=1, keepdim=True) * _BLOCK
    places = (first + torch.arange(_BLOCK, device=logits.device)).clamp_(max=logits.shape[1] - 1)
    return (first + logits.gather(1, places).argmax(dim=1, keepdim=True))[:, 0]


def _nucleus(probabilities: Tensor, sums: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw from the smallest set of likeliest tokens that together hold at least `top_p`.

    A draw from all tokens that falls outside the set is drawn again: that gives the same
    distribution as sorting, at the price of two passes over the vocabulary, as a draw
    falls outside at most 1 - top_p of the time. Of equals, lower ids come first.
    """
    tokens = _invert(sums, uniforms[:, 0])
    own = probabilities.gather(1, tokens[:, None])
    # All that is as likely, the token itself left out, is at least what stands before it.
    before = (probabilities * (probabilities >= own)).sum(dim=-1) - own[:, 0]
    left = (before >= top_p).nonzero()[:, 0]
    for attempt in range(TRIES):
        if not len(left):
            return tokens
        if attempt:
            tokens[left] = _invert(sums[left], uniforms[left, attempt])
        left = left[_mass_before(probabilities[left], tokens[left]) >= top_p]
    if not len(left):
        return tokens
    ordered, ids = probabilities[left].sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = torch.where(before < top_p, ordered, 0.0)
    tokens[left] = ids.gather(1, _invert(kept.cumsum(dim=-1), uniforms[left, TRIES])[:, None])[:, 0]
    return tokens


def _mass_before(probabilities: Tensor, tokens: Tensor) -> Tensor:
    """Probability (B,) of all tokens that stand before `tokens` in falling order, equals by id."""
    own = probabilities.gather(1, tokens[:, None])
    ids = torch.arange(probabilities.shape[1], device=tokens.device)
    likelier = (probabilities > own) | ((probabilities == own) & (ids < tokens[:, None]))
    return (probabilities * likelier).sum(dim=-1)


def _invert(sums: Tensor, uniforms: Tensor) -> Tensor:
    """Position (B,) at which running sums (B, N) of weights pass the share `uniforms` of their total."""
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
