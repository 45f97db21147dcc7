"""A trajectory for each of many examples, some at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice

from deeprec.progress import Bar
from deeprec.rollout.environment import Environment
from deeprec.rollout.episode import Episode
from deeprec.rollout.loop import EpisodeLoop
from deeprec.types import Example, Trajectory

__all__ = ["Environment", "run_episodes"]


def run_episodes(
    examples: Sequence[Example],
    environment: Environment,
    *,
    greedy: bool,
    bar: Bar | None = None,
    watch: Callable[[Episode], None] | None = None,
) -> list[Trajectory]:
    """One trajectory per example, in order.

    Repeat an example to sample a group. An episode's key is the position of its example. At
    most `config.users_per_batch` episodes are in flight, and the next example takes the place
    of whoever is done. `watch` as for `EpisodeLoop`.
    """
    loop = EpisodeLoop(environment, greedy=greedy, watch=watch)
    started = time.perf_counter()
    trajectories: dict[int, Trajectory] = {}
    waiting = enumerate(examples)
    environment.forget()
    try:
        while len(trajectories) < len(examples):
            # Refilled turn by turn: waiting for the longest trajectory would leave most places empty.
            room = environment.config.users_per_batch - len(loop)
            for key, example in islice(waiting, room):
                loop.add(_episode(key, example, environment))
            done = loop.step()
            trajectories.update((episode.key, episode.finish()) for episode in done)
            if bar is not None and done:
                bar.advance(len(done))
    finally:
        environment.forget()  # its memory is for others now
        environment.clock.total += time.perf_counter() - started
    return [trajectories[key] for key in range(len(examples))]


def _episode(key: int, example: Example, environment: Environment) -> Episode:
    catalog, engine = environment.dataset.catalog, environment.engine
    return Episode(key, example, catalog, environment.codec, environment.config, engine.context_length)
