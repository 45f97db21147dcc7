"""Finding ids that hold a text among many, at the speed of a text search."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

_BETWEEN = "\x00"  # no query holds it


class IdSearch:
    """Ids by a part of them, in regard of case; all of them lie in one text."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = ids
        self._text = _BETWEEN + _BETWEEN.join(ids) + _BETWEEN
        self._starts = list(accumulate((len(one) + 1 for one in ids[:-1]), initial=1)) if ids else []

    def find(self, query: str) -> Iterator[str]:
        """Those that hold it: the same one first, then those that begin so, each in their order.

        >>> list(IdSearch(["b1", "ab", "b", "c"]).find("b"))
        ['b', 'b1', 'ab']
        """
        yield from self._holding(f"{_BETWEEN}{query}{_BETWEEN}")
        for one in self._holding(f"{_BETWEEN}{query}"):
            if one != query:
                yield one
        for one in self._holding(query):
            if not one.startswith(query):
                yield one

    def _holding(self, text: str) -> Iterator[str]:
        """Ids in whose stretch `text` is found, each once; a separator it begins with is the one before the id."""
        leads = int(text.startswith(_BETWEEN))
        begin = 1 - leads
        for _ in self._ids:
            place = self._text.find(text, begin) + leads
            if place < 1 or place >= len(self._text) - 1:
                return
            number = bisect_right(self._starts, place) - 1
            yield self._ids[number]
            begin = self._starts[number] + len(self._ids[number]) + 1 - leads
