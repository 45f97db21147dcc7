"""Guesses of the next tokens, to be checked by the model several at a time.

A policy repeats itself: numbers of list lines, tags, favourite preferences. What followed the same
two tokens before, whoever wrote them, is fed along with a row's newest token. Every token is
still drawn from the model's own distribution with its own random number: a guess that is not
what is drawn costs its place in the pass, and never changes what is written.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST = 7  # tokens guessed at once
_SURE = 2  # times in a row that the same token must have followed before
_MOST = 1 << 18  # pairs of tokens that are remembered: some 50 MB
# What a pass costs besides its tokens, in tokens: once, and for the keys and values of each row.
# Measured with the tiny policy on one core, where a token of 128 costs 12 microseconds.
_PASS, _ROW = 100.0, 2.0


class Drafts:
    """What followed each pair of tokens lately."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int], tuple[int, int]] = {}  # pair: token, how often in a row

    def note(self, pair: tuple[int, int], token: int) -> None:
        """A row wrote `token` behind these two."""
        last, count = self._next.get(pair, (token, -1))
        if len(self._next) >= _MOST:
            self._next.clear()
        self._next[pair] = (token, count + 1) if last == token else (token, 0)

    def propose(self, pair: tuple[int, int], most: int, stops: frozenset[int]) -> list[int]:
        """Likely next tokens behind these two, up to one of `stops`; none where nothing is likely."""
        found: list[int] = []
        while len(found) < most:
            token, count = self._next.get(pair, (0, 0))
            if count < _SURE:
                break
            found.append(token)
            if token in stops:
                break
            pair = (pair[1], token)
        return found


def worthwhile(lengths: Sequence[int]) -> int:
    """How many guesses a row to feed at most, for rows with so many each: what brings most tokens for its cost.

    All rows pay for the longest guess.

    >>> worthwhile([3, 3, 3, 0]), worthwhile([7] + [0] * 199), worthwhile([])
    (3, 0, 0)
    """
    rows, most = len(lengths), max(lengths, default=0)
    gained = [rows + sum(min(length, width) for length in lengths) for width in range(most + 1)]
    rates = [gain / (_PASS + rows * (_ROW + 1 + width)) for width, gain in enumerate(gained)]
    return rates.index(max(rates))
