"""The one rollout loop: episodes join and leave while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from deeprec.errors import EngineError
from deeprec.rollout.environment import Environment
from deeprec.rollout.episode import Episode, stop_sampling
from deeprec.rollout.retrieval import write_retrieved


class EpisodeLoop:
    """Steps the episodes in flight together; each may join or leave between two steps.

    Once a list is opened `environment.lists` fills it; without a maker the policy writes on.
    `watch` is called after each of an episode's moves, and may itself add and cancel.

    The loop never makes the engine forget. Its owner does: before the first episode, after a
    change of weights, and when it keeps an empty loop and wants the engine's memory back. One
    thread at a time may use a loop. How many episodes are in flight is its owner's choice.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        greedy: bool,
        watch: Callable[[Episode], None] | None = None,
    ) -> None:
        self._environment, self._greedy = environment, greedy
        self._watch = watch
        self._sampling = stop_sampling(
            environment.codec, environment.config, greedy=greedy, writes_list=environment.lists is None
        )
        self._episodes: dict[int, Episode] = {}  # in flight, by key, in the order in which they joined

    def __len__(self) -> int:
        """Episodes in flight."""
        return len(self._episodes)

    def add(self, episode: Episode) -> None:
        """Have an episode take part from the next step on.

        Raises EngineError where its key is that of another one in flight.
        """
        if episode.key in self._episodes:
            raise EngineError(
                f"episode {episode.key}: another one with this key is in flight; give each its own key"
            )
        self._episodes[episode.key] = episode

    def cancel(self, key: int) -> bool:
        """Let an episode go, wherever it stands. False where it isn't in flight (any more)."""
        return self._episodes.pop(key, None) is not None

    def step(self, only: int | None = None) -> list[Episode]:
        """One turn of everybody in flight: a segment each, then items of the TRM, then lists.

        Returns the episodes that are done, in the order in which they joined; these have left
        the loop. Without episodes it does nothing. `only` is the key of the one episode that
        takes its turn, and the others stand still.

        An error of the engine, the TRM, the list maker or `watch` is passed on, and leaves
        every episode in flight between two of its moves: step again and each goes on from
        there (what it was fed or shown is kept), or cancel some first, as after a lack of
        memory. To find out whose doing it was, have the engine forget and step one at a time.
        """
        environment, clock = self._environment, self._environment.clock
        # After an error some may still wait for items or a list; they get it below.
        writing = self._in_flight(
            only, lambda one: not one.is_done and one.preference is None and not one.awaits_list
        )
        if writing:
            started = time.perf_counter()
            segments = environment.engine.generate([one.request() for one in writing], self._sampling)
            clock.engine += time.perf_counter() - started
            # All are fed before anybody is told: an error of a watcher must not lose a segment.
            for episode, segment in zip(writing, segments, strict=True):
                episode.feed(segment)
            self._notify(writing)
        asking = self._in_flight(only, lambda one: one.preference is not None)
        if asking:
            started = time.perf_counter()
            write_retrieved(asking, environment.dataset, environment.retriever, environment.config)
            clock.retrieval += time.perf_counter() - started
            self._notify(asking)
        opened = self._in_flight(only, lambda one: one.awaits_list)
        if opened and environment.lists is not None:
            started = time.perf_counter()
            environment.lists.lists(opened, greedy=self._greedy)
            clock.engine += time.perf_counter() - started
            self._notify(opened)
        done = self._in_flight(only, lambda one: one.is_done)
        for episode in done:
            del self._episodes[episode.key]
        return done

    def _in_flight(self, only: int | None, chosen: Callable[[Episode], bool]) -> list[Episode]:
        return [one for key, one in self._episodes.items() if only in (None, key) and chosen(one)]

    def _notify(self, episodes: Sequence[Episode]) -> None:
        if self._watch is not None:
            for episode in episodes:
                self._watch(episode)
