"""Who asks recommenders for all users of an evaluation, batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deeprec.progress import progress_bar
from deeprec.recommender import Recommendation, Recommender
from deeprec.rollout.recommender import DeepRecRecommender
from deeprec.types import Example, Trajectory

USERS_PER_CALL = 512  # asked for together: bounds a call's memory


class Asking(Protocol):
    """Asks for users in batches, in order. Batches of another size may change last bits."""

    def answers(
        self, recommender: Recommender, examples: Sequence[Example], k: int
    ) -> Sequence[Recommendation]:
        """An answer for each example, in order."""
        ...

    def samples(self, recommender: DeepRecRecommender, examples: Sequence[Example]) -> Sequence[Trajectory]:
        """A sampled trajectory for each example, in order."""
        ...


class AskingHere:
    """Asks one batch of `size` users after the other in this process."""

    def __init__(self, size: int = USERS_PER_CALL) -> None:
        self._size = size

    def answers(
        self, recommender: Recommender, examples: Sequence[Example], k: int
    ) -> Sequence[Recommendation]:
        """An answer for each example, in order."""
        found: list[Recommendation] = []
        with progress_bar(f"Evaluating {recommender.name}", len(examples)) as bar:
            for batch in batches(examples, self._size):
                found += recommender.recommend(batch, k)
                bar.advance(len(batch))
        return found

    def samples(self, recommender: DeepRecRecommender, examples: Sequence[Example]) -> Sequence[Trajectory]:
        """A sampled trajectory for each example, in order."""
        return [
            trajectory for batch in batches(examples, self._size) for trajectory in recommender.sample(batch)
        ]


def batches(examples: Sequence[Example], size: int) -> list[Sequence[Example]]:
    """The examples cut into what is asked for together."""
    return [examples[start : start + size] for start in range(0, len(examples), size)]
