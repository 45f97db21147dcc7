"""Who fills a list once the policy has opened it, where the policy doesn't write it freely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deeprec.rollout.episode import Episode


class ListMaker(Protocol):
    """Fills opened lists. An episode's list doesn't depend on the episodes beside it."""

    def lists(self, episodes: Sequence[Episode], *, greedy: bool) -> None:
        """Write the opened list of each episode: the likeliest one, or one that is drawn."""
        ...

    def forget(self) -> None:
        """Go on to fresh random numbers."""
        ...

    def reseed(self, seed: int) -> None:
        """Draw as a new maker with this seed would."""
        ...


class RetrievedLists:
    """The list is what the TRM retrieved for the last preference, in its order. Nothing is drawn."""

    def __init__(self, recommended: int) -> None:
        self._size = recommended

    def lists(self, episodes: Sequence[Episode], *, greedy: bool) -> None:
        """At most `rollout.recommended` items of each episode's last retrieval; none where nobody asked."""
        for episode in episodes:
            episode.write_list(episode.turns[-1].retrieved[: self._size] if episode.turns else ())

    def forget(self) -> None:
        """Nothing is drawn."""

    def reseed(self, seed: int) -> None:
        """Nothing is drawn."""
