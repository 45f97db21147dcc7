"""DeepRec as a Recommender: explore with the policy, answer with its final list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deeprec.config import InferenceConfig
from deeprec.progress import progress_bar
from deeprec.recommender import Recommendation
from deeprec.rollout.episode import Episode
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.types import Example, Trajectory


class DeepRecRecommender:
    """Ranks by greedy trajectories of a policy, or by several sampled ones.

    With `fill_in` it always answers k items: where the policy fails or its list is short,
    the TRM's ranking goes on, and the answer says so. Evaluation leaves it off: there a
    failure is a miss.
    """

    def __init__(
        self,
        name: str,
        environment: Environment,
        *,
        fill_in: bool = False,
        inference: InferenceConfig | None = None,
    ) -> None:
        self.name = name
        self.environment = environment
        self._fill_in = fill_in
        self._inference = inference or InferenceConfig()

    def recommend(
        self,
        examples: Sequence[Example],
        k: int = 10,
        *,
        watch: Callable[[Episode], None] | None = None,
    ) -> list[Recommendation]:
        """One recommendation per example, in order; items of the history are left out."""
        count = self._inference.rollouts
        with progress_bar(f"Exploring: {self.name}", count * len(examples)) as bar:
            trajectories = run_episodes(
                [example for example in examples for _ in range(count)],
                self.environment,
                greedy=count == 1,
                ranking=self._inference.ranking,
                bar=bar,
                watch=watch,
            )
        return [
            self._answer(example, trajectories[place * count : (place + 1) * count], k)
            for place, example in enumerate(examples)
        ]

    def sample(self, examples: Sequence[Example]) -> list[Trajectory]:
        """One trajectory per example, in order, sampled as in training: the policy writes the list."""
        with progress_bar(f"Sampling: {self.name}", len(examples)) as bar:
            return run_episodes(examples, self.environment, greedy=False, bar=bar)

    def _answer(self, example: Example, trajectories: Sequence[Trajectory], k: int) -> Recommendation:
        excluded = set(self.environment.dataset.exclusions(example))
        valid = [trajectory for trajectory in trajectories if trajectory.is_valid]
        trajectory = valid[0] if valid else trajectories[0]
        listed = merge_rankings([found.ranking for found in valid])
        ranking = tuple(item for item in listed if item not in excluded)[:k]
        if len(ranking) == k or not self._fill_in:
            reason = None if trajectory.is_valid else _reason(trajectory)
            return Recommendation(ranking, self.name, reason, trajectory)
        left = self.environment.dataset.catalog.n_items - len(excluded | set(ranking))
        missing = min(k - len(ranking), left)
        if missing > 0:
            found = self.environment.retriever.retrieve(
                [example.history], k=missing, exclude=[(*excluded, *ranking)]
            )
            filled = ranking + tuple(int(item) for item in found.item_indices[0])
        else:  # the user knows the whole catalogue
            filled = ranking
        short = f"the list holds {len(ranking)} of {k} items"
        reason = short if trajectory.is_valid else _reason(trajectory)
        return Recommendation(filled, self.name if ranking else "trm", reason, trajectory)


def merge_rankings(rankings: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """One ranking of several: by the sum of reciprocal ranks, equals by where they come first.

    >>> merge_rankings([(1, 2, 3), (2, 1, 4), (2, 5, 1)])
    (2, 1, 5, 3, 4)
    """
    votes: dict[int, float] = {}
    for ranking in rankings:
        for place, item in enumerate(ranking, 1):
            votes[item] = votes.get(item, 0.0) + 1 / place
    return tuple(sorted(votes, key=lambda item: -votes[item]))


def _reason(trajectory: Trajectory) -> str:
    if trajectory.format_errors:
        return f"{trajectory.stop_reason}: {'; '.join(trajectory.format_errors)}"
    return str(trajectory.stop_reason)
