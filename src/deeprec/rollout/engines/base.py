"""The Engine contract: token ids and sampling settings in, sampled ids and log-probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one segment. Always explicit; temperature 0 is greedy.

    Sampling stops after (and includes) the first token in `stop_ids`.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    stop_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Request:
    """Continue `context` by one segment.

    `key` names the episode. Between two requests of one key the context only ever grows
    (earlier ids stay as they are), so an engine may keep what it computed for it.
    """

    key: int
    context: tuple[int, ...]
    max_new_tokens: int


@dataclass(frozen=True, slots=True)
class Segment:
    """What the policy sampled: ids and, parallel to them, natural-log probabilities.

    Log-probabilities are the model's own at temperature 1 over the whole vocabulary,
    before nucleus filtering: what the trainer computes for the same tokens.
    NaN where they are not known; an engine that gives such refuses to train (`Engine.reseed`).
    `stopped` is False where the cap on new tokens ended it.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool


class Engine(Protocol):
    """Generates for a policy. Answers requests in their order."""

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        ...

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """One segment per request; a request's own `max_new_tokens` caps it further."""
        ...

    def reseed(self, seed: int) -> None:
        """Draw from here on as `seed` says: engines with the same weights then answer the same requests alike.

        Training calls this before each iteration, so that a run can be repeated, and a resumed one goes on
        as if nothing had happened. Raises EngineError for an engine that can't be trained with.
        """
        ...

    def forget(self) -> None:
        """Drop whatever is kept between calls (weights changed, or a batch is done)."""
        ...


@runtime_checkable
class KeepsGuesses(Protocol):
    """An engine that guesses next tokens from what was written before, and checks several at a time."""

    def forget_guesses(self) -> None:
        """Guess as a new engine would."""
        ...
