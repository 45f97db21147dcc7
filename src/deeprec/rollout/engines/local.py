"""Transformers on CPU or GPU, with keys and values kept from turn to turn.

A turn feeds only what is new since the last one (its last sampled token and what the
environment wrote), episodes are batched and may join in mid-flight, equal prompts are read
once, rows that are done make room instead of sampling on, and the model checks guesses of
the next tokens several at a time (see `drafts`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from deeprec.errors import EngineError
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.causal_lm import (
    cache_argument,
    evaluating,
    is_out_of_memory,
    keeps_some_logits,
    memory_message,
    usable_context,
)
from deeprec.rollout.engines.drafts import LONGEST, Drafts, worthwhile
from deeprec.rollout.engines.lean import LeanPass, lean_pass
from deeprec.rollout.engines.limits import new_token_cap, portions
from deeprec.rollout.engines.rows import Row, Rows
from deeprec.rollout.engines.sampling import WIDTH, draw, uniforms_for

# Tokens read in one pass: bounds the memory of masks and activations. A processor is a third
# faster when they fit its cache.
_PREFILL_TOKENS = 16_384
_PREFILL_TOKENS_CPU = 2_048


@dataclass
class EngineClock:
    """Seconds that the model ran, drawing included: reading contexts, and writing segments."""

    prefill: float = 0.0
    decode: float = 0.0


class LocalEngine:
    """Engine on a transformers causal LM that lives in this process.

    What an episode draws depends on `seed`, the number of `forget` calls since, its key and
    its length alone, not on its batch; call `reseed` to make a training step repeatable.
    After a change of weights call `forget`. `guesses` bounds how many likely next tokens are
    fed along; it changes speed alone. Raises EngineError for a model whose attention can't be
    cached by rows.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        seed: int,
        context_length: int | None = None,
        guesses: int = LONGEST,
    ) -> None:
        self._model = model
        self._context_length = usable_context(model, context_length)
        self._keeps_some = keeps_some_logits(model)
        self._cache_argument = cache_argument(model)
        self.clock = EngineClock()
        self._seed = seed
        self._part = 0
        self._rows = Rows()
        self._guesses = guesses
        self._drafts = Drafts()
        self._lean: LeanPass | None = None
        self._is_stale = True  # the weights may have changed since `_lean` was made

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return self._context_length

    def forget(self) -> None:
        """Drop all keys and values, and go on to fresh random numbers."""
        self._rows.clear()
        self._part += 1  # else a second rollout of the same prompt would draw the first one's numbers
        self._is_stale = True

    def reseed(self, seed: int) -> None:
        """Forget, and draw as a new engine with this seed would."""
        self.forget()
        self._seed, self._part = seed, 0

    def forget_guesses(self) -> None:
        """Guess nothing from what was written before: how many tokens are fed at once shows in a sum's last bits."""
        self._drafts = Drafts()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Segment]:
        """One segment per request, in order; a request's own `max_new_tokens` caps it further.

        Keeps the keys and values of these requests for the next call, and drops all others.
        """
        if not requests:
            return []
        if len({request.key for request in requests}) < len(requests):
            raise EngineError("two requests of one call share a key; every episode needs its own")
        caps = [new_token_cap(request, sampling, self._context_length) for request in requests]
        try:
            with evaluating(self._model):
                if self._is_stale:
                    self._lean, self._is_stale = lean_pass(self._model, self._context_length), False
                logits = self._read(requests, caps)
                self._write(logits, requests, sampling)
        except BaseException as error:
            # Rows and cache may disagree now; the next call reads everything again.
            self._rows = Rows()
            if is_out_of_memory(error):
                raise EngineError(memory_message(requests, caps)) from error
            raise
        ordered = sorted(self._rows, key=lambda row: row.place)
        return [Segment(tuple(row.ids), tuple(row.logprobs), row.is_stopped) for row in ordered]

    # Reading contexts

    def _read(self, requests: Sequence[Request], caps: Sequence[int]) -> Tensor:
        """Bring every context into the cache; logits (rows, V) after the last token of each row.

        Rows that go on come first, then new ones; a prompt that several episodes share is read once.
        """
        places = self._rows.keep_continuing(requests)
        kept, going_on = len(places), set(places)
        # Sorted by length: passes over neighbours need little padding.
        new = sorted(set(range(len(requests))) - going_on, key=lambda place: len(requests[place].context))
        firsts: dict[tuple[int, ...], int] = {}  # each new context, and the row that reads it
        twins = []
        for place in new:
            if firsts.setdefault(requests[place].context, len(places)) == len(places):
                places.append(place)
            else:
                twins.append(place)
        self._rows.add([requests[place] for place in places[kept:]])
        started = time.perf_counter()
        contexts = [requests[place].context for place in places]
        # Apart: what the environment wrote and whole prompts differ in length.
        parts = (slice(0, kept), slice(kept, len(places)))
        logits = torch.cat([found for part in parts for found in self._prefill(part, contexts[part])])
        if logits.is_cuda:
            torch.cuda.synchronize(logits.device)  # else the first token would wait, and be blamed
        self.clock.prefill += time.perf_counter() - started
        if twins:
            sources = [firsts[requests[place].context] for place in twins]
            self._rows.copy_behind(sources, [requests[place] for place in twins])
            logits = torch.cat([logits, logits[sources]])
        for row, place in zip(self._rows, [*places, *twins], strict=True):
            row.begin(requests[place].context, place, caps[place])
        return logits

    def _prefill(self, part: slice, contexts: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Feed what the cache lacks of the contexts of these rows, some rows at a time."""
        suffixes = [
            context[len(row.cached) :] for row, context in zip(self._rows[part], contexts, strict=True)
        ]
        budget = _PREFILL_TOKENS_CPU if self._model.device.type == "cpu" else _PREFILL_TOKENS
        return [
            self._feed(slice(part.start + some.start, part.start + some.stop), suffixes[some])
            for some in portions([len(suffix) for suffix in suffixes], budget)
        ]

    # Writing segments

    def _write(self, logits: Tensor, requests: Sequence[Request], sampling: Sampling) -> None:
        """Sample until every row is done. Rows that still write stay in front: self._rows[:active]."""
        uniforms = self._uniforms(requests, sampling)
        active = len(self._rows)
        fed: list[list[int]] = [[] for _ in self._rows]  # the contexts were fed by `_read`
        counts = [1] * active  # tokens that are drawn for each row, of which the first is sure to count
        while active:
            started = time.perf_counter()
            shares = None
            if uniforms is not None:
                shares = torch.from_numpy(uniforms[self._draws(counts)]).to(logits.device)
            tokens, logprobs = draw(logits, shares, sampling.temperature, sampling.top_p)
            drawn, chances = tokens.tolist(), logprobs.tolist()
            self.clock.decode += time.perf_counter() - started
            start = 0
            for row, own, count in zip(self._rows[:active], fed, counts, strict=True):
                end = start + count
                taken = self._take(row, own[1:], drawn[start:end], chances[start:end], sampling)
                row.cached.extend(own[:taken])
                start = end
            active = self._rows.close_ranks(active)
            if active:
                started = time.perf_counter()
                fed = self._next(active, sampling)
                counts = [len(own) for own in fed]
                logits = self._feed(slice(0, active), fed, everywhere=True)
                self.clock.decode += time.perf_counter() - started

    def _take(
        self, row: Row, guesses: list[int], drawn: list[int], chances: list[float], sampling: Sampling
    ) -> int:
        """Write down what was drawn, up to where the row ends or the guess behind which it was drawn was wrong."""
        for number, (token, chance) in enumerate(zip(drawn, chances, strict=True)):
            if number and guesses[number - 1] != row.tail[1]:
                return number
            row.ids.append(token)
            row.logprobs.append(chance)
            self._drafts.note(row.tail, token)
            row.tail = (row.tail[1], token)
            row.is_stopped = token in sampling.stop_ids
            row.is_done = row.is_stopped or len(row.ids) >= row.cap
            if row.is_done:
                return number + 1
        return len(drawn)

    def _next(self, active: int, sampling: Sampling) -> list[list[int]]:
        """What to feed to each row: its newest token and guesses behind it; nothing to one that is done."""
        guesses = [
            []
            if row.is_done or not self._guesses
            else self._drafts.propose(
                row.tail, min(self._guesses, row.cap - len(row.ids) - 1), sampling.stop_ids
            )
            for row in self._rows[:active]
        ]
        width = worthwhile([len(own) for own in guesses])
        return [
            [] if row.is_done else [row.ids[-1], *own[:width]]
            for row, own in zip(self._rows[:active], guesses, strict=True)
        ]

    def _draws(self, counts: Sequence[int]) -> tuple[list[int], list[int]]:
        """Request and number of each token that is drawn now: an index into the random numbers."""
        pairs = [
            (row.place, len(row.ids) + number)
            for row, count in zip(self._rows[: len(counts)], counts, strict=True)
            for number in range(count)
        ]
        return [place for place, _ in pairs], [number for _, number in pairs]

    def _uniforms(self, requests: Sequence[Request], sampling: Sampling) -> np.ndarray | None:
        """Random numbers (requests, steps, WIDTH) for the whole call; None for greedy."""
        if sampling.temperature == 0:
            return None
        longest = max(row.cap for row in self._rows)
        drawn = [
            uniforms_for(self._seed, self._part, r.key, len(r.context), longest * WIDTH) for r in requests
        ]
        return np.stack(drawn).reshape(len(requests), longest, WIDTH)

    # The model

    def _feed(self, rows: slice, suffixes: Sequence[Sequence[int]], *, everywhere: bool = False) -> Tensor:
        """Feed these ids behind what is cached of each row.

        Logits (N, V) after each one, row by row, or (rows, V) after each row's last.
        """
        lines, taken = self._rows.rectangle(rows, suffixes)
        width = 1 + max(line[-1] for line in taken)
        ids, slots = (torch.tensor(part, device=self._model.device) for part in (lines, taken))
        seen = torch.arange(width, device=ids.device)
        dtype = self._model.dtype
        # Nobody sees slot 0 but padding: a softmax over nothing is not a number.
        places = slots[:, :, None]
        unseen = (seen > places) | ((seen == 0) & (places > 0))
        mask = torch.zeros(unseen.shape, dtype=dtype, device=ids.device)
        mask.masked_fill_(unseen, torch.finfo(dtype).min)
        self._rows.cache.begin(len(self._rows), rows, slots, width)
        columns = ids.shape[1] if everywhere else 1
        is_full = not everywhere or min(len(suffix) for suffix in suffixes) == columns
        wanted = None if is_full else (slots > 0).flatten()
        return self._run_model(ids, mask[:, None], (slots - 1).clamp(min=0), columns, wanted)

    def _run_model(
        self, ids: Tensor, mask: Tensor, positions: Tensor, columns: int, wanted: Tensor | None
    ) -> Tensor:
        """Logits (N, V) in the last columns, where `wanted` (rows * columns) is true, or everywhere.

        `mask` (rows, 1, tokens, slots) is added to the scores.
        """
        if self._lean is not None:
            return self._lean(ids, mask, positions, self._rows.cache, columns, wanted)
        options = {"logits_to_keep": columns} if self._keeps_some else {}
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=True,
            **{self._cache_argument: self._rows.cache},
            **options,
        )
        logits: Tensor = output.logits[:, -columns:].flatten(0, 1)
        return logits if wanted is None else logits[wanted]
