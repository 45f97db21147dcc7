"""The one-shot ranking as a Recommender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deeprec.progress import Bar, progress_bar
from deeprec.recommender import Recommendation
from deeprec.rivals.one_shot.prompts import Task, build_tasks
from deeprec.rivals.one_shot.ranker import OneShotRanking, rank_tasks
from deeprec.rollout.environment import Environment
from deeprec.rollout.fill_in import final_answer
from deeprec.rollout.lists import ListWriter
from deeprec.types import Example, Trajectory


class OneShotRecommender:
    """Ranks by the list that a language model writes below the TRM's.

    Evaluation leaves `fill_in` off: a list that can't be read is a miss. With it the TRM's ranking
    goes on where the model failed or its list is short, and the answer says so.
    """

    def __init__(
        self,
        name: str,
        environment: Environment,
        *,
        ranking: OneShotRanking = "generate",
        writer: ListWriter | None = None,
        fill_in: bool = False,
    ) -> None:
        self.name = name
        self.environment = environment
        self._ranking, self._writer = ranking, writer
        self._fill_in = fill_in

    def recommend(self, examples: Sequence[Example], k: int = 10) -> list[Recommendation]:
        """One recommendation per example, in order; items of the history are left out.

        Raises PolicyError where a prompt doesn't fit into the model's context.
        """
        self.environment.restart(examples, 0)  # its lists are greedy: no seed matters
        with progress_bar(f"Ranking: {self.name}", len(examples)) as bar:
            tasks = build_tasks(examples, self.environment)
            written = self._rank(tasks, bar)
        retriever = self.environment.retriever if self._fill_in else None
        found = []
        for example, trajectory in zip(examples, written, strict=True):
            answer = final_answer(self.name, example, [trajectory], k, self.environment.dataset, retriever)
            # Without the trajectory: it has no turns, and figures about asking would tell of nothing.
            found.append(
                replace(
                    answer,
                    trajectory=None,
                    tokens=sum(trajectory.loss_mask),
                    is_valid=trajectory.is_valid,
                )
            )
        return found

    def _rank(self, tasks: Sequence[Task], bar: Bar | None = None) -> list[Trajectory]:
        return rank_tasks(
            tasks, self.environment, greedy=True, ranking=self._ranking, writer=self._writer, bar=bar
        )

    def explain(self, example: Example) -> str:
        """The prompt, the text behind it, and the items that it names."""
        task = build_tasks([example], self.environment)[0]
        trajectory = self._rank([task])[0]
        dataset = self.environment.dataset
        problem = final_answer(self.name, example, [trajectory], 1, dataset, None).reason
        places = {item: place for place, item in enumerate(task.candidates, 1)}
        lines = [
            f"Reads {len(task.prompt_ids)} tokens:",
            task.prompt.rstrip("\n"),
            f"Writes {len(trajectory.response_ids)} tokens:",
            trajectory.response.strip("\n"),
            "Ranks:" if problem is None else f"Not valid ({problem}), so a miss; it names:",
        ]
        for place, item in enumerate(trajectory.ranking, 1):
            before = f"the TRM's {places[item]}." if item in places else "not among the candidates"
            lines.append(f"{place:3}. {dataset.catalog[item].label} ({before})")
        return "\n".join(lines)
