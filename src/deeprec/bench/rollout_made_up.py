"""Made-up trajectories of three turns, and a random policy that writes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from transformers import Qwen2ForCausalLM

from deeprec.config import PolicyConfig
from deeprec.policy.tiny import tiny_shape
from deeprec.rollout.engines.base import Engine, Request, Sampling, Segment

TURNS = 3
_SHORTEST, _LONGEST = 150, 200  # tokens of a prompt
_APPENDED = 40  # tokens that the environment writes after a turn


@dataclass(frozen=True)
class Contexts:
    """Prompts of R rows, and what the environment appends (turns, rows)."""

    prompts: list[list[int]]
    appended: list[list[list[int]]]
    stop_ids: frozenset[int]


def random_policy(config: PolicyConfig, vocabulary: int) -> Qwen2ForCausalLM:
    """A Qwen2 of the configured size whose next tokens are spread out: rows stop at different times.

    Raises PolicyError for sizes that don't divide.
    """
    shape = tiny_shape(config, vocabulary, eos=None, pad=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(shape).eval()
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.data.normal_(0.0, weight.shape[1] ** -0.5)
    return model


def made_up_contexts(rows: int, group: int, vocabulary: int, stop_every: int) -> Contexts:
    """`group` neighbouring rows share a prompt; every `stop_every`-th token ends a segment."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(_SHORTEST, _LONGEST + 1, size=rows // group)
    prompts = [draw.integers(vocabulary, size=int(length)).tolist() for length in lengths]
    appended = draw.integers(vocabulary, size=(TURNS, rows, _APPENDED)).tolist()
    return Contexts(
        [list(prompts[row // group]) for row in range(rows)],
        appended,
        frozenset(range(1, vocabulary, stop_every)),
    )


def write_turns(engine: Engine, made_up: Contexts, sampling: Sampling) -> list[Segment]:
    """All segments, turn by turn, of `engine` on these contexts."""
    engine.forget()
    contexts = [list(prompt) for prompt in made_up.prompts]
    written: list[Segment] = []
    for turn in range(TURNS):
        requests = [Request(row, tuple(ids), sampling.max_new_tokens) for row, ids in enumerate(contexts)]
        segments = engine.generate(requests, sampling)
        for context, segment, items in zip(contexts, segments, made_up.appended[turn], strict=True):
            context += [*segment.token_ids, *items]
        written += segments
    return written
