"""A policy that may ask once: what further turns are worth is the difference to it."""

from __future__ import annotations

from collections.abc import Sequence

from deeprec.recommender import Recommendation
from deeprec.rollout.engines.base import Segment
from deeprec.rollout.environment import Environment
from deeprec.rollout.episode import Episode, stop_sampling
from deeprec.rollout.fill_in import final_answer
from deeprec.rollout.retrieval import write_retrieved
from deeprec.rollout.tags import TAGS
from deeprec.types import Example

_OPENING = f"Now rank.{TAGS.end_think}\n{TAGS.begin_list}"  # as scripts open a list


class AsksOnce:
    """The policy's first turn, then its list: the list is opened for it, whatever it would have asked next.

    It needs lists that are filled for the policy (`rollout.list` other than `free`).
    """

    def __init__(self, name: str, environment: Environment) -> None:
        self.name, self._environment = name, environment

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """One greedy answer per example, in order; a first turn that fails is a failure, as usual."""
        size, found = self._environment.config.users_per_batch, []
        for start in range(0, len(examples), size):
            found += self._batch(examples[start : start + size], k)
        return found

    def _batch(self, examples: Sequence[Example], k: int) -> list[Recommendation]:
        world = self._environment
        world.forget()
        length, catalog = world.engine.context_length, world.dataset.catalog
        episodes = [
            Episode(key, example, catalog, world.codec, world.config, length)
            for key, example in enumerate(examples)
        ]
        sampling = stop_sampling(world.codec, world.config, greedy=True, writes_list=False)
        segments = world.engine.generate([episode.request() for episode in episodes], sampling)
        for episode, segment in zip(episodes, segments, strict=True):
            episode.feed(segment)
        asking = [episode for episode in episodes if episode.preference is not None]
        if asking:
            write_retrieved(asking, world.dataset, world.retriever, world.config)
        for episode in asking:
            if not episode.is_done:
                ids = tuple(world.codec.encode(_OPENING))
                episode.feed(Segment(ids, (0.0,) * len(ids), stopped=True))
        opened = [episode for episode in episodes if episode.awaits_list]
        if opened and world.lists is not None:
            world.lists.lists(opened, greedy=True)
        world.forget()
        return [
            final_answer(self.name, episode.example, [episode.finish()], k, world.dataset, None)
            for episode in episodes
        ]
