"""A bare history as a policy reads it when it is asked which title comes next."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

from deeprec.data.catalog import Catalog
from deeprec.rollout.codec import Codec

Ids = tuple[int, ...]


class TitleTexts:
    """Titles one behind another, oldest first.

    Where every title is one token (the tiny policy), they follow the end-of-text token with
    nothing between them: an item costs one token. For other tokenizers each stands on a line of
    its own, and its line break counts as part of it, so that a title which begins another one
    is told apart.
    """

    def __init__(self, codec: Codec, catalog: Catalog) -> None:
        self._codec, self._catalog = codec, catalog
        self._known: dict[int, Ids] = {}

    @cached_property
    def is_compact(self) -> bool:
        """Whether every title is one token, and each its own."""
        ids = [self._codec.encode(item.label) for item in self._catalog.items]
        return all(len(found) == 1 for found in ids) and len({found[0] for found in ids}) == len(ids)

    @cached_property
    def start(self) -> Ids:
        """What stands in front of the first title."""
        return (self._codec.eos_id,) if self.is_compact else tuple(self._codec.encode("\n"))

    def context(self, history: Sequence[int]) -> Ids:
        """Ids of a history of item indices."""
        return self.start + tuple(token for item in history for token in self.title(item))

    def latest(self, history: Sequence[int], room: int | None) -> Ids:
        """Ids of as many of the latest titles as fit into `room` tokens with what stands in front; None: of all."""
        if room is None:
            return self.context(history)
        # Whole titles from the latest on: half a title is another item, or none.
        ends = accumulate(len(self.title(item)) for item in reversed(history))
        fitting = sum(len(self.start) + end <= room for end in ends)
        return self.context(history[len(history) - fitting :])

    def title(self, item: int) -> Ids:
        """Ids of one title."""
        found = self._known.get(item)
        if found is None:
            label = self._catalog[item].label
            found = tuple(self._codec.encode(label if self.is_compact else f"{label}\n"))
            self._known[item] = found
        return found
