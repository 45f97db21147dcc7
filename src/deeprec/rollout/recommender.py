"""DeepRec as a Recommender: explore with the policy, answer with its final list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deeprec.progress import progress_bar
from deeprec.recommender import Recommendation
from deeprec.rollout.episode import Episode
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.types import Example, Trajectory


class DeepRecRecommender:
    """Ranks by greedy trajectories of a policy.

    With `fill_in` it always answers k items: where the policy fails or its list is short,
    the TRM's ranking goes on, and the answer says so. Evaluation leaves it off: there a
    failure is a miss.
    """

    def __init__(self, name: str, environment: Environment, *, fill_in: bool = False) -> None:
        self.name = name
        self.environment = environment
        self._fill_in = fill_in

    def recommend(
        self,
        examples: Sequence[Example],
        k: int = 10,
        *,
        watch: Callable[[Episode], None] | None = None,
    ) -> list[Recommendation]:
        """One recommendation per example, in order; items of the history are left out."""
        trajectories = self.explore(examples, greedy=True, watch=watch)
        return [
            self._answer(example, trajectory, k)
            for example, trajectory in zip(examples, trajectories, strict=True)
        ]

    def explore(
        self,
        examples: Sequence[Example],
        *,
        greedy: bool,
        watch: Callable[[Episode], None] | None = None,
    ) -> list[Trajectory]:
        """One trajectory per example, in order: greedy, or sampled as in training."""
        with progress_bar(f"Exploring: {self.name}", len(examples)) as bar:
            return run_episodes(examples, self.environment, greedy=greedy, bar=bar, watch=watch)

    def _answer(self, example: Example, trajectory: Trajectory, k: int) -> Recommendation:
        excluded = set(self.environment.dataset.exclusions(example))
        listed = trajectory.ranking if trajectory.is_valid else ()
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


def _reason(trajectory: Trajectory) -> str:
    if trajectory.format_errors:
        return f"{trajectory.stop_reason}: {'; '.join(trajectory.format_errors)}"
    return str(trajectory.stop_reason)
