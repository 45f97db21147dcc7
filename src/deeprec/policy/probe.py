"""A piece of what training a policy computes, to measure with: it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_ROWS, _TOKENS, _DECODED = 16, 128, 8
_WORK = 2e9  # weights times tokens of the pass at most: a fraction of a second on one core


def training_piece(model: PreTrainedModel) -> Callable[[], None]:
    """A forward and backward pass over made-up tokens, and a few tokens written one by one, as rollouts do.

    Gradients are forgotten, the mode and the random numbers are left as they were.
    """
    weights = sum(weight.numel() for weight in model.parameters())
    tokens = max(1, min(_ROWS * _TOKENS, int(_WORK / max(weights, 1))))
    length = min(_TOKENS, tokens)
    ids = torch.zeros(max(1, tokens // length), length, dtype=torch.long)

    def run() -> None:
        training = model.training
        with torch.random.fork_rng(devices=[]):
            model.train()
            model(input_ids=ids, labels=ids).loss.backward()
            model.zero_grad(set_to_none=True)
            model.eval()
            with torch.no_grad():
                for _ in range(_DECODED):
                    model(input_ids=ids[:, :1])
        model.train(training)

    return run
