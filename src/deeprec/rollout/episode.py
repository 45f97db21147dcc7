"""One user's trajectory as a state machine over token ids. Imports no model and no engine.

The one class serves training, evaluation, the command line and a server: it says what to
continue from, takes what was sampled, says which preference awaits the TRM, and writes
the items that it retrieved behind it, masked. Sampled ids are kept as they are and never re-encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deeprec.config import RolloutConfig
from deeprec.data.catalog import Catalog
from deeprec.errors import PolicyError
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Request, Sampling, Segment
from deeprec.rollout.protocol import (
    parse_exploration,
    parse_list,
    render_items,
    render_prompt,
    render_ranking,
    resolve_lines,
)
from deeprec.rollout.tags import TAGS
from deeprec.types import Draw, Example, StopReason, Trajectory, Turn
from deeprec.wishes.text import fit_wish


def stop_sampling(codec: Codec, config: RolloutConfig, *, greedy: bool, writes_list: bool = True) -> Sampling:
    """How every segment is sampled: until a preference or the list closes, or the text ends.

    Where the policy doesn't write the list itself, a segment ends as soon as the list opens.
    """
    closing = (TAGS.end_preference, TAGS.end_list if writes_list else TAGS.begin_list)
    return Sampling(
        temperature=0.0 if greedy else config.temperature,
        top_p=1.0 if greedy else config.top_p,
        max_new_tokens=config.segment_tokens,
        stop_ids=frozenset({codec.eos_id, *(codec.tag_ids[tag] for tag in closing)}),
    )


class Episode:
    """One trajectory in the making.

    Loop: while not `is_done`, sample `request()` and `feed` the segment; when a
    `preference` is pending, `write_items` of the TRM; when `awaits_list`, `write_list`.
    Then `finish`. A move that raises leaves the episode as it was before.
    """

    def __init__(
        self,
        key: int,
        example: Example,
        catalog: Catalog,
        codec: Codec,
        config: RolloutConfig,
        context_length: int,
    ) -> None:
        self.key = key
        self.example = example
        self.preference: str | None = None  # waiting for the TRM
        self.awaits_list = False  # the list was opened, and is to be written for the policy
        self.catalog, self._codec, self._config = catalog, codec, config
        shown = replace(example, wish=fit_wish(example.wish, codec.encode))
        self._prompt = render_prompt(shown, catalog, config)
        self._prompt_ids = tuple(codec.encode_prompt(self._prompt, chat=config.chats))
        # A context that can't hold the prompt is the user's setting, not the policy's mistake.
        if len(self._prompt_ids) >= context_length:
            raise PolicyError(
                f"user '{example.user_id}': the prompt has {len(self._prompt_ids)} tokens, and the policy reads "
                f"{context_length} at most; lower rollout.history, show fewer rollout.prompt_fields, or take a "
                "policy with a longer context"
            )
        self._room = min(config.response_tokens, context_length - len(self._prompt_ids))
        self._ids: list[int] = []
        self._mask: list[int] = []
        self._logprobs: list[float] = []
        self._turns: list[Turn] = []
        self._thought = ""
        self._opening = ""  # text that opened a list which is to be written for the policy
        self._lines: tuple[str, ...] = ()
        self._errors: list[str] = []
        self._draw: Draw | None = None
        self._stop: StopReason | None = None

    @property
    def is_done(self) -> bool:
        """Whether the trajectory has ended, well or not."""
        return self._stop is not None

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The exchanges so far."""
        return tuple(self._turns)

    @property
    def retrieved(self) -> tuple[int, ...]:
        """Item indices retrieved so far."""
        return tuple(item for turn in self._turns for item in turn.retrieved)

    def request(self) -> Request:
        """What to continue from, and for how many tokens at most."""
        left = min(self._config.segment_tokens, self._room - len(self._ids))
        return Request(self.key, self.context, left)

    def feed(self, segment: Segment) -> None:
        """Take what the policy sampled for `request()`."""
        if self.is_done or self.preference is not None or self.awaits_list:
            raise ValueError(f"episode {self.key}: is done, or waits for items or its list; it can't be fed")
        text = self._codec.decode(list(segment.token_ids))
        self._append(segment.token_ids, segment.logprobs, sampled=True)
        if segment.stopped and text.endswith(TAGS.end_preference):
            self._take_preference(text)
        elif segment.stopped and text.endswith(TAGS.begin_list):
            self._opening, self.awaits_list = text, True
        elif segment.stopped and text.endswith(TAGS.end_list):
            self._take_list(text)
            self._stop = StopReason.FINISHED
        else:
            self._take_list(text)
            self._stop = StopReason.NO_LIST if segment.stopped else self._cap()

    def write_items(self, item_indices: tuple[int, ...], scores: tuple[float, ...]) -> None:
        """Write the TRM's items behind the pending preference, best first."""
        if self.preference is None:
            raise ValueError(f"episode {self.key}: no preference is waiting for items")
        ids = self._codec.encode(render_items(item_indices, self.catalog, self._config.list_fields))
        self._turns.append(Turn(self._thought, self.preference, item_indices, scores))
        self.preference = None
        if len(self._ids) + len(ids) >= self._room:
            self._stop = StopReason.TOKEN_LIMIT
            return
        # Masked: the environment's tokens carry no gradient, so that no one learns to recite the TRM.
        self._append(ids, [0.0] * len(ids), sampled=False)

    def has_room(self, tokens: int) -> bool:
        """Whether so many tokens more may stand behind `context`."""
        return len(self._ids) + tokens <= self._room

    def leave_list(self) -> None:
        """End the episode at its opened list, which there is no room for."""
        self._check_opened()
        self.awaits_list, self._stop = False, StopReason.TOKEN_LIMIT

    def _check_opened(self) -> None:
        if not self.awaits_list:
            raise ValueError(f"episode {self.key}: no list is open")

    def write_list(self, item_indices: Sequence[int], draw: Draw | None = None) -> None:
        """Close the opened list with these items, best first, as tokens that the policy didn't sample: masked.

        `draw` is how the policy drew them.
        """
        self._check_opened()
        text = render_ranking(item_indices, self.catalog).removeprefix(TAGS.begin_list)
        ids = self._codec.encode(text)
        if not self.has_room(len(ids)):
            self.leave_list()
            return
        self.awaits_list = False
        self._append(ids, [0.0] * len(ids), sampled=False)
        self._draw = draw
        self._take_list(self._opening + text)
        self._stop = StopReason.FINISHED

    @property
    def context(self) -> tuple[int, ...]:
        """All ids so far: the prompt, and what was written behind it."""
        return self._prompt_ids + tuple(self._ids)

    def finish(self) -> Trajectory:
        """The finished record."""
        if self._stop is None:
            raise ValueError(f"episode {self.key}: not done yet")
        # A list from memory alone is not what is trained: whoever never asks has not explored.
        errors = self._errors if self._turns else [*self._errors, "no retrieval"]
        items = resolve_lines(self._lines, self.catalog)
        return Trajectory(
            user_id=self.example.user_id,
            prompt_ids=self._prompt_ids,
            response_ids=tuple(self._ids),
            loss_mask=tuple(self._mask),
            logprobs=tuple(self._logprobs),
            prompt=self._prompt,
            response=self._codec.decode(self._ids),
            turns=self.turns,
            lines=self._lines,
            ranking=tuple(dict.fromkeys(item for item in items if item)),
            stop_reason=self._stop,
            format_errors=tuple(errors),
            draw=self._draw,
        )

    def _append(
        self, ids: tuple[int, ...] | list[int], logprobs: tuple[float, ...] | list[float], *, sampled: bool
    ) -> None:
        self._ids.extend(ids)
        self._logprobs.extend(logprobs)
        self._mask.extend([int(sampled)] * len(ids))

    def _take_preference(self, text: str) -> None:
        parsed = parse_exploration(text)
        self._errors.extend(parsed.errors)
        self._thought = parsed.thought
        if not any(character.isalnum() for character in parsed.preference):
            self._turns.append(Turn(parsed.thought, parsed.preference))
            self._stop = StopReason.EMPTY_PREFERENCE
        elif len(self._turns) >= self._config.max_retrievals:
            self._stop = StopReason.RETRIEVAL_LIMIT
        else:
            self.preference = parsed.preference

    def _take_list(self, text: str) -> None:
        parsed = parse_list(text)
        self._errors.extend(parsed.errors)
        self._lines = parsed.lines

    def _cap(self) -> StopReason:
        full = len(self._ids) >= self._room
        return StopReason.TOKEN_LIMIT if full else StopReason.SEGMENT_LIMIT
