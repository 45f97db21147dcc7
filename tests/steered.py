"""An engine whose random model gets a dialogue of several turns."""

from __future__ import annotations

from collections.abc import Sequence

from small_world import build_codec, explore

from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.local import LocalEngine


class Steered:
    """The local engine, but most segments are cut and given a closing tag.

    A random model never writes one; with it, episodes get turns of their own length.
    """

    def __init__(self, engine: LocalEngine) -> None:
        self.engine = engine
        self.context_length = engine.context_length
        self.forgotten = 0

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """What the local engine writes, most of it closed as an exploration."""
        ids = build_codec().encode(explore("Action", ""))
        found = []
        segments = self.engine.generate(requests, sampling)
        for request, segment in zip(requests, segments, strict=True):
            # Not by the sum of the tokens: a random model that repeats one gives always the same.
            if (segment.token_ids[0] + len(request.context)) % 4:
                tokens = (*segment.token_ids[:6], *ids)
                segment = Segment(tokens, (*segment.logprobs[:6], *[0.0] * len(ids)), stopped=True)
            found.append(segment)
        return found

    def reseed(self, seed: int) -> None:
        """As the local engine."""
        self.engine.reseed(seed)

    def forget(self) -> None:
        """As the local engine, and counted."""
        self.forgotten += 1
        self.engine.forget()
