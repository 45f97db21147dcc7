"""The episodes of a local engine, a row each, and the keys and values that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from deeprec.rollout.engines.base import Request
from deeprec.rollout.engines.cache import RowCache


@dataclass(slots=True)
class Row:
    """One episode's place in the cache, and its segment in the making."""

    key: int
    start: tuple[int, ...]  # the context that it began with
    cached: list[int] = field(default_factory=list)  # ids whose keys and values are in the cache
    place: int = 0  # position of its request in the call
    cap: int = 0
    tail: tuple[int, int] = (-1, -1)  # the latest two tokens
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_stopped: bool = False
    is_done: bool = False

    def begin(self, context: tuple[int, ...], place: int, cap: int) -> None:
        """Start a segment behind a context that was read."""
        self.cached, self.place, self.cap = list(context), place, cap
        self.tail = (context[-2] if len(context) > 1 else -1, context[-1])
        self.ids, self.logprobs, self.is_stopped, self.is_done = [], [], False, False

    def is_continued_by(self, context: Sequence[int]) -> bool:
        """Whether a context is what is cached, and more."""
        return len(self.cached) < len(context) and list(context[: len(self.cached)]) == self.cached


class Rows(list[Row]):
    """Rows in the order of the cache. Each method that moves rows moves their keys and values too."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = RowCache()

    def clear(self) -> None:
        """Forget every row."""
        super().clear()
        self.cache.clear()

    def keep_continuing(self, requests: Sequence[Request]) -> list[int]:
        """Drop all rows but those that a request continues; the place of each one's request."""
        known = {row.key: position for position, row in enumerate(self)}
        kept = {
            known[request.key]: place
            for place, request in enumerate(requests)
            if request.key in known and self[known[request.key]].is_continued_by(request.context)
        }
        # Only as many are moved as there are gaps: copying keys and values costs.
        gaps = [position for position in range(len(kept)) if position not in kept]
        movers = [position for position in kept if position >= len(kept)]
        self._copy(movers, gaps)
        for gap, mover in zip(gaps, movers, strict=True):
            self[gap] = self[mover]
            kept[gap] = kept.pop(mover)
        del self[len(kept) :]
        return [kept[position] for position in range(len(kept))]

    def add(self, requests: Sequence[Request]) -> None:
        """Rows for these requests, behind the others.

        One whose context another row began with takes over the keys and values of all of it
        but the last token, behind which something is to be predicted.
        """
        known = {row.start: position for position, row in enumerate(self)}
        first = len(self)
        self.extend(Row(request.key, request.context) for request in requests)
        heirs = [position for position in range(first, len(self)) if self[position].start in known]
        self._copy([known[self[position].start] for position in heirs], heirs)
        for position in heirs:
            self[position].cached = list(self[position].start[:-1])

    def copy_behind(self, sources: Sequence[int], requests: Sequence[Request]) -> None:
        """Rows for these requests, whose contexts are those of rows `sources`, behind the others."""
        first = len(self)
        self.extend(Row(request.key, request.context) for request in requests)
        self._copy(sources, range(first, len(self)))

    def close_ranks(self, active: int) -> int:
        """Of the first `active` rows move done ones behind the others once an eighth is done.

        Returns how many are in front now.
        """
        done = [position for position in range(active) if self[position].is_done]
        if len(done) == active:
            return 0
        # Moving keys and values costs more than feeding a few rows that are done.
        if len(done) * 8 < active:
            return active
        writing = active - len(done)
        gaps = [position for position in done if position < writing]
        movers = [position for position in range(writing, active) if not self[position].is_done]
        self._copy(movers + gaps, gaps + movers)
        for gap, mover in zip(gaps, movers, strict=True):
            self[gap], self[mover] = self[mover], self[gap]
        return writing

    def rectangle(
        self, rows: slice, suffixes: Sequence[Sequence[int]]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Ids and slots (rows, tokens) of what is fed behind the cached ids.

        Padding, in front so that the last column is every row's last token, goes to slot 0.
        """
        longest = max(len(suffix) for suffix in suffixes)
        ids, slots = [], []
        for row, suffix in zip(self[rows], suffixes, strict=True):
            padding = [0] * (longest - len(suffix))
            ids.append([*padding, *suffix])
            slots.append([*padding, *range(len(row.cached) + 1, len(row.cached) + len(suffix) + 1)])
        return ids, slots

    def _copy(self, sources: Sequence[int], places: Sequence[int]) -> None:
        if places:
            self.cache.copy(torch.tensor(sources), torch.tensor(places))
