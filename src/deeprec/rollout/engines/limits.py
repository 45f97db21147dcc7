"""How long a segment may get, where it stops, and how much is read in one pass: the same for every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deeprec.errors import EngineError
from deeprec.rollout.engines.base import Request, Sampling


def new_token_cap(request: Request, sampling: Sampling, context_length: int) -> int:
    """New tokens that a request may get: its own cap, the sampling's, and what the context has left.

    Raises EngineError where that is none.
    """
    asked = min(request.max_new_tokens, sampling.max_new_tokens)
    if asked < 1:
        raise EngineError(f"episode {request.key}: asked for {asked} new tokens; ask for at least one")
    if not request.context:
        raise EngineError(
            f"episode {request.key}: an empty context; give at least one token to continue from"
        )
    left = context_length - len(request.context)
    if left < 1:
        raise EngineError(
            f"episode {request.key}: {len(request.context)} tokens leave no room in the model's context of "
            f"{context_length}; show less (rollout.history, rollout.retrieved) or take a model with a longer context"
        )
    return min(asked, left)


def portions(lengths: Sequence[int], budget: int) -> Iterator[slice]:
    """Neighbouring rows whose padded rectangle stays within `budget` tokens; at least one row each."""
    start, longest = 0, 0
    for position, length in enumerate(lengths):
        longest = max(longest, length)
        if position > start and longest * (position - start + 1) > budget:
            yield slice(start, position)
            start, longest = position, length
    if lengths:
        yield slice(start, len(lengths))
