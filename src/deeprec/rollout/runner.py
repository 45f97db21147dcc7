"""Steps many episodes together: the only rollout loop of the project."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deeprec.config import Ranking, RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import PolicyError, RetrievalError
from deeprec.progress import Bar
from deeprec.rollout.codec import Codec
from deeprec.rollout.engines.base import Engine
from deeprec.rollout.episode import Episode, stop_sampling
from deeprec.trm.base import Retriever
from deeprec.trm.periods import NOW, month_phrase
from deeprec.trm.phrases import join_phrases, split_phrases
from deeprec.types import Example, Trajectory

if TYPE_CHECKING:
    from deeprec.rollout.lists import ListWriter


@dataclass
class Clock:
    """Seconds spent in each part of a rollout; add up over calls by passing the same one."""

    engine: float = 0.0
    retrieval: float = 0.0
    total: float = 0.0


@dataclass(frozen=True)
class Environment:
    """What episodes run in: the data, the TRM, an engine with its tokenizer, and the caps."""

    dataset: Dataset
    retriever: Retriever
    engine: Engine
    codec: Codec
    config: RolloutConfig
    clock: Clock = field(default_factory=Clock)
    lists: ListWriter | None = None  # writes lists where the policy doesn't; needs its model in this process

    def __post_init__(self) -> None:
        check_list_sizes(self.config, self.dataset)


def check_list_sizes(config: RolloutConfig, dataset: Dataset) -> None:
    """Raise RetrievalError for lists longer than the catalogue."""
    for key in ("retrieved", "recommended"):
        wanted, most = getattr(config, key), dataset.catalog.n_items
        if wanted > most:
            raise RetrievalError(
                f"rollout.{key} = {wanted} is more than the catalogue's {most} items; lower it"
            )


def run_episodes(
    examples: Sequence[Example],
    environment: Environment,
    *,
    greedy: bool,
    ranking: Ranking = "generate",
    bar: Bar | None = None,
    watch: Callable[[Episode], None] | None = None,
) -> list[Trajectory]:
    """One trajectory per example, in order.

    Repeat an example to sample a group. At most `config.users_per_batch` episodes are in
    flight; `watch` is called after each of an episode's moves, for streaming. `ranking` says
    who writes the list once it is opened: the policy, or `environment.lists` (see there).
    """
    if environment.config.answer == "retrieved":
        ranking = "retrieved"
    if ranking in ("score", "constrained") and environment.lists is None:
        raise PolicyError(
            f"inference.ranking = '{ranking}' needs the policy's model in this process; use `generate`"
        )
    started = time.perf_counter()
    finished: list[Trajectory] = []
    size = environment.config.users_per_batch
    for start in range(0, len(examples), size):
        batch = examples[start : start + size]
        finished += _run_batch(batch, environment, greedy=greedy, ranking=ranking, watch=watch)
        if bar is not None:
            bar.advance(len(batch))
    environment.clock.total += time.perf_counter() - started
    return finished


def _run_batch(
    examples: Sequence[Example],
    environment: Environment,
    *,
    greedy: bool,
    ranking: Ranking,
    watch: Callable[[Episode], None] | None,
) -> list[Trajectory]:
    engine, codec, config = environment.engine, environment.codec, environment.config
    sampling = stop_sampling(codec, config, greedy=greedy, writes_list=ranking == "generate")
    catalog = environment.dataset.catalog
    episodes = [
        Episode(key, example, catalog, codec, config, engine.context_length)
        for key, example in enumerate(examples)
    ]
    engine.forget()
    while active := [episode for episode in episodes if not episode.is_done]:
        started = time.perf_counter()
        segments = engine.generate([episode.request() for episode in active], sampling)
        environment.clock.engine += time.perf_counter() - started
        for episode, segment in zip(active, segments, strict=True):
            episode.feed(segment)
        _notify(active, watch)
        waiting = [episode for episode in active if episode.preference is not None]
        if waiting:
            started = time.perf_counter()
            answer_preferences(waiting, environment.dataset, environment.retriever, config)
            environment.clock.retrieval += time.perf_counter() - started
            _notify(waiting, watch)
        opened = [episode for episode in active if episode.awaits_list]
        if opened:
            started = time.perf_counter()
            write_lists(opened, environment.lists, ranking, config.recommended)
            environment.clock.engine += time.perf_counter() - started
            _notify(opened, watch)
    engine.forget()
    return [episode.finish() for episode in episodes]


def answer_preferences(
    episodes: Sequence[Episode], dataset: Dataset, retriever: Retriever, config: RolloutConfig
) -> None:
    """Retrieve for every pending preference, and write the items behind it.

    One call answers all who get equally many items; an answer never depends on the batch.
    """
    exclude = [
        (*dataset.exclusions(episode.example), *(episode.retrieved if config.new_items_only else ()))
        for episode in episodes
    ]
    # A small catalogue runs out of new items: then that user's list is shorter, or empty.
    sizes = [min(config.retrieved, dataset.catalog.n_items - len(set(items))) for items in exclude]
    for size in sorted(set(sizes)):
        chosen = [position for position, wanted in enumerate(sizes) if wanted == size]
        if size == 0:
            for position in chosen:
                episodes[position].answer((), ())
            continue
        found = retriever.retrieve(
            [episodes[position].example.history for position in chosen],
            [_asked(episodes[position], config) for position in chosen],
            k=size,
            exclude=[exclude[position] for position in chosen],
        )
        for position, items, scores in zip(chosen, found.item_indices, found.scores, strict=True):
            episodes[position].answer(tuple(map(int, items)), tuple(map(float, scores)))


def _asked(episode: Episode, config: RolloutConfig) -> str | None:
    """The preference as the TRM is asked: `now` is the month of the user's latest interaction."""
    times = episode.example.timestamps
    if not config.now or not times:
        return episode.preference
    phrases = split_phrases(episode.preference)
    return join_phrases([month_phrase(times[-1]) if phrase.lower() == NOW else phrase for phrase in phrases])


def write_lists(episodes: Sequence[Episode], lists: ListWriter | None, ranking: Ranking, size: int) -> None:
    """Write the opened list of each episode: at most `size` items of its pool, best first.

    Without a writer it is the TRM's answer to the last wish, in the TRM's order.
    """
    if lists is None or ranking == "retrieved":
        for episode in episodes:
            episode.write_list(episode.turns[-1].retrieved[:size] if episode.turns else ())
        return
    contexts = [episode.context for episode in episodes]
    pools = [tuple(dict.fromkeys(episode.retrieved)) for episode in episodes]
    if ranking == "constrained":
        found = lists.write(contexts, pools, size)
    else:
        # Equal likelihoods keep the order in which the items were retrieved.
        orders = [np.argsort(-scores, kind="stable")[:size] for scores in lists.scores(contexts, pools)]
        found = [[pool[place] for place in order] for pool, order in zip(pools, orders, strict=True)]
    for episode, items in zip(episodes, found, strict=True):
        episode.write_list(items)


def _notify(episodes: Sequence[Episode], watch: Callable[[Episode], None] | None) -> None:
    if watch is not None:
        for episode in episodes:
            watch(episode)
