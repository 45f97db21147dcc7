"""Transformers on CPU or GPU, with keys and values kept from turn to turn.

A turn feeds only what is new since the last one (its last sampled token and what the
environment wrote), episodes are batched, equal prompts are read once, and rows that are
done make room instead of sampling on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from deeprec.errors import EngineError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.engines.cache import RowCache
from deeprec.rollout.engines.causal_lm import (
    evaluating,
    is_out_of_memory,
    last_logits_only,
    memory_message,
    usable_context,
)
from deeprec.rollout.engines.limits import holds_stop, new_token_cap, portions
from deeprec.rollout.engines.qwen2 import LeanQwen2, lean_pass
from deeprec.rollout.engines.sampling import WIDTH, draw, uniforms_for

# Tokens read in one pass: bounds the memory of masks and activations. A processor is a third
# faster when they fit its cache.
_PREFILL_TOKENS = 16_384
_PREFILL_TOKENS_CPU = 4_096


@dataclass
class EngineClock:
    """Seconds that the model ran, drawing included: reading contexts, and writing segments."""

    prefill: float = 0.0
    decode: float = 0.0


@dataclass(slots=True)
class _Row:
    """One episode's place in the cache, and its segment in the making."""

    key: int
    cached: list[int]  # ids whose keys and values are in the cache
    start: tuple[int, ...]  # the context that it began with
    place: int = 0  # position of its request in the call
    cap: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    is_stopped: bool = False
    is_done: bool = False

    def is_continued_by(self, context: Sequence[int]) -> bool:
        """Whether a context is what is cached, and more."""
        return len(self.cached) < len(context) and list(context[: len(self.cached)]) == self.cached


class LocalEngine:
    """Engine on a transformers causal LM that lives in this process.

    What an episode draws depends on `seed`, the number of `forget` calls since, its key and
    its length alone, not on its batch; call `reseed` to make a training step repeatable.
    After a change of weights call `forget`. Raises EngineError for a model whose attention
    can't be cached by rows.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        codec: Codec,
        *,
        seed: int,
        context_length: int | None = None,
    ) -> None:
        self._model = model
        self._codec = codec
        self._context_length = usable_context(model, context_length)
        self._options = last_logits_only(model)
        self.clock = EngineClock()
        self._seed = seed
        self._part = 0
        self._rows: list[_Row] = []
        self._cache = RowCache()
        self._lean: LeanQwen2 | None = None
        self._is_stale = True  # the weights may have changed since `_lean` was made

    @property
    def context_length(self) -> int:
        """Tokens that prompt and response may have together."""
        return self._context_length

    def forget(self) -> None:
        """Drop all keys and values, and go on to fresh random numbers."""
        self._rows = []
        self._cache.clear()
        self._part += 1
        self._is_stale = True

    def reseed(self, seed: int) -> None:
        """Forget, and draw as a new engine with this seed would."""
        self.forget()
        self._seed, self._part = seed, 0

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
            self._rows, self._cache = [], RowCache()
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
        places = self._keep_continuing(requests)
        kept = len(places)
        going_on = set(places)
        # Sorted by length: passes over neighbours need little padding.
        new = sorted(set(range(len(requests))) - going_on, key=lambda place: len(requests[place].context))
        firsts: dict[tuple[int, ...], int] = {}  # each new context, and the row that reads it
        twins, sources = [], []
        for place in new:
            context = requests[place].context
            if context in firsts:
                twins.append(place)
                sources.append(firsts[context])
            else:
                firsts[context] = kept + len(firsts)
                places.append(place)
        self._rows += [_Row(requests[place].key, [], requests[place].context) for place in places[kept:]]
        self._borrow(kept)
        read = len(self._rows)
        places += twins
        self._rows += [_Row(requests[place].key, [], requests[place].context) for place in twins]
        contexts = [requests[place].context for place in places[:read]]
        started = time.perf_counter()
        # Apart: what the environment wrote and whole prompts differ in length.
        logits = torch.cat(
            [*self._prefill(slice(0, kept), contexts), *self._prefill(slice(kept, read), contexts)]
        )
        if logits.is_cuda:
            torch.cuda.synchronize(logits.device)  # else the first token would wait, and be blamed
        self.clock.prefill += time.perf_counter() - started
        if twins:
            self._cache.copy(self._tensor(sources), self._tensor(range(read, len(self._rows))))
            logits = logits[self._tensor([*range(read), *sources])]
        for row, place in zip(self._rows, places, strict=True):
            row.cached = list(requests[place].context)
            row.place, row.cap = place, caps[place]
            row.ids, row.logprobs, row.is_stopped, row.is_done = [], [], False, False
        return logits

    def _keep_continuing(self, requests: Sequence[Request]) -> list[int]:
        """Drop all rows but those that a request continues; the place of each one's request."""
        known = {row.key: position for position, row in enumerate(self._rows)}
        kept = {
            known[request.key]: place
            for place, request in enumerate(requests)
            if request.key in known and self._rows[known[request.key]].is_continued_by(request.context)
        }
        # Only as many are moved as there are gaps: copying keys and values costs.
        gaps = [position for position in range(len(kept)) if position not in kept]
        movers = [position for position in kept if position >= len(kept)]
        if gaps:
            self._cache.copy(self._tensor(movers), self._tensor(gaps))
        for gap, mover in zip(gaps, movers, strict=True):
            self._rows[gap] = self._rows[mover]
            kept[gap] = kept.pop(mover)
        self._rows = self._rows[: len(kept)]
        return [kept[position] for position in range(len(kept))]

    def _borrow(self, kept: int) -> None:
        """Give new rows the keys and values of a prompt that a kept row began with, but its last token's."""
        known = {row.start: position for position, row in enumerate(self._rows[:kept])}
        found = {
            position: known[row.start]
            for position, row in enumerate(self._rows[kept:], kept)
            if row.start in known
        }
        if found:
            self._cache.copy(self._tensor(list(found.values())), self._tensor(list(found)))
        for position in found:
            self._rows[position].cached = list(self._rows[position].start[:-1])

    def _prefill(self, part: slice, contexts: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Feed what the cache lacks of the contexts of these rows, some rows at a time."""
        suffixes = [
            context[len(row.cached) :] for row, context in zip(self._rows[part], contexts[part], strict=True)
        ]
        outputs = []
        budget = _PREFILL_TOKENS_CPU if self._model.device.type == "cpu" else _PREFILL_TOKENS
        for some in portions([len(suffix) for suffix in suffixes], budget):
            rows = slice(part.start + some.start, part.start + some.stop)
            longest = max(len(suffix) for suffix in suffixes[some])
            ids, slots = [], []
            for row, suffix in zip(self._rows[rows], suffixes[some], strict=True):
                # Padding goes in front, so that the last column is every row's last token.
                padding = [0] * (longest - len(suffix))
                ids.append([*padding, *suffix])
                slots.append(padding + list(range(len(row.cached) + 1, len(row.cached) + len(suffix) + 1)))
                row.cached.extend(suffix)
            outputs.append(self._forward(rows, self._tensor(ids), self._tensor(slots)))
        return outputs

    # Writing segments

    def _write(self, logits: Tensor, requests: Sequence[Request], sampling: Sampling) -> None:
        """Sample until every row is done. Rows that still write stay in front: self._rows[:active]."""
        uniforms = self._uniforms(requests, sampling)
        active = len(self._rows)
        step = 0
        while True:
            started = time.perf_counter()
            if step:
                logits = self._step(active)
            column = None if uniforms is None else uniforms[[row.place for row in self._rows[:active]], step]
            shares = None if column is None else torch.from_numpy(column).to(logits.device)
            tokens, logprobs = draw(logits, shares, sampling.temperature, sampling.top_p)
            drawn, chances = tokens.tolist(), logprobs.tolist()
            self.clock.decode += time.perf_counter() - started
            for row, token, chance in zip(self._rows[:active], drawn, chances, strict=True):
                if not row.is_done:
                    row.ids.append(token)
                    row.logprobs.append(chance)
                    row.is_done = len(row.ids) >= row.cap
                    if self._stops(row.ids, sampling):
                        row.is_done = row.is_stopped = True
            step += 1
            active = self._close_ranks(active)
            if active == 0:
                return

    def _step(self, active: int) -> Tensor:
        """Feed each row's newest token; a row that is done writes to the unseen slot 0."""
        ids, slots = [], []
        for row in self._rows[:active]:
            ids.append([row.ids[-1]])
            if row.is_done:
                slots.append([0])
            else:
                row.cached.append(row.ids[-1])
                slots.append([len(row.cached)])
        return self._forward(slice(0, active), self._tensor(ids), self._tensor(slots))

    def _close_ranks(self, active: int) -> int:
        """Move done rows behind the others once an eighth is done; the new number in front."""
        done = [position for position in range(active) if self._rows[position].is_done]
        if len(done) == active:
            return 0
        if len(done) * 8 < active:
            return active
        writing = active - len(done)
        gaps = [position for position in done if position < writing]
        movers = [position for position in range(writing, active) if not self._rows[position].is_done]
        if gaps:
            self._cache.copy(self._tensor(movers + gaps), self._tensor(gaps + movers))
            for gap, mover in zip(gaps, movers, strict=True):
                self._rows[gap], self._rows[mover] = self._rows[mover], self._rows[gap]
        return writing

    def _stops(self, ids: list[int], sampling: Sampling) -> bool:
        if ids[-1] in sampling.stop_ids:
            return True
        if not sampling.stop_texts:
            return False
        # A stop text is completed by this very token, so that it lies within the last few:
        # a token is at least a byte. Some more, as the first ones may be parts of a letter.
        reach = max(len(stop.encode()) for stop in sampling.stop_texts) + 8
        return holds_stop(self._codec.decode(ids[-reach:]), sampling.stop_texts)

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

    def _forward(self, rows: slice, ids: Tensor, slots: Tensor) -> Tensor:
        """Logits (rows, V) after the last column of ids (rows, tokens)."""
        width = 1 + max(len(row.cached) for row in self._rows[rows])
        seen = torch.arange(width, device=ids.device)
        dtype = self._model.dtype
        # Nobody sees slot 0 but padding: a softmax over nothing is not a number.
        places = slots[:, :, None]
        unseen = (seen > places) | ((seen == 0) & (places > 0))
        mask = torch.zeros(unseen.shape, dtype=dtype, device=ids.device)
        mask.masked_fill_(unseen, torch.finfo(dtype).min)
        self._cache.begin(len(self._rows), rows, slots, width)
        return self._run_model(ids, mask[:, None], (slots - 1).clamp(min=0))

    def _run_model(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Logits (rows, V) after the last column; `mask` (rows, 1, tokens, slots) is added to the scores."""
        if self._lean is not None:
            return self._lean(ids, mask, positions, self._cache)
        output = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            **self._options,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def _tensor(self, values: Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._model.device)
