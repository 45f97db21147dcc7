"""DeepRec as a Recommender: explore with the policy, answer with its final list."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from deeprec.config import InferenceConfig
from deeprec.progress import progress_bar
from deeprec.recommender import Recommendation
from deeprec.rollout.episode import Episode
from deeprec.rollout.fill_in import final_answer, preferences_of
from deeprec.rollout.runner import Environment, run_episodes
from deeprec.types import Example, Trajectory
from deeprec.wishes.rule import WishRule


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
        seed: int = 0,
    ) -> None:
        self.name = name
        self.environment = environment
        self._fill_in = fill_in
        self._rule = WishRule(environment.dataset.catalog)  # for whom the policy fails who said a wish
        self._inference = inference or InferenceConfig()
        self._seed = seed

    def recommend(
        self,
        examples: Sequence[Example],
        k: int = 10,
        *,
        watch: Callable[[Episode], None] | None = None,
    ) -> list[Recommendation]:
        """One recommendation per example, in order; items of the history are left out."""
        count = self._inference.rollouts
        self.environment.restart(examples, self._seed)
        with progress_bar(f"Exploring: {self.name}", count * len(examples)) as bar:
            trajectories = run_episodes(
                [example for example in examples for _ in range(count)],
                self.environment,
                greedy=count == 1,
                bar=bar,
                watch=watch,
            )
        groups = [trajectories[place * count : (place + 1) * count] for place in range(len(examples))]
        return [self._answer(example, found, k) for example, found in zip(examples, groups, strict=True)]

    def _answer(self, example: Example, trajectories: Sequence[Trajectory], k: int) -> Recommendation:
        dataset = self.environment.dataset
        if not self._fill_in:
            return final_answer(self.name, example, trajectories, k, dataset, None)
        asked = self._rule.ask(example, preferences_of(turn for one in trajectories for turn in one.turns))
        return final_answer(self.name, example, trajectories, k, dataset, self.environment.retriever, asked)

    def sample(self, examples: Sequence[Example]) -> list[Trajectory]:
        """One trajectory per example, in order, sampled as in training."""
        self.environment.restart(examples, self._seed)
        with progress_bar(f"Sampling: {self.name}", len(examples)) as bar:
            return run_episodes(examples, self.environment, greedy=False, bar=bar)
