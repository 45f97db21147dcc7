"""What the model learns from: RL targets with the TRM's list for each, and lists to imitate.

The TRM is that of the run, fitted on the fit part alone, for training as in use: the lists that
the model learns to reorder are as good, and as wrong, as those that it will meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deeprec.data.dataset import Dataset
from deeprec.errors import TrainingError
from deeprec.rivals.one_shot.prompts import Task, build_tasks
from deeprec.rl.documents import Document, fit_examples
from deeprec.rollout.codec import Codec
from deeprec.rollout.environment import Environment
from deeprec.rollout.protocol import render_ranking
from deeprec.rollout.tags import TAGS


def lesson_tasks(dataset: Dataset, environment: Environment) -> list[Task]:
    """Prompts of all targets that the TRM was not fitted on and that lie before validation, in the order of the data.

    Raises TrainingError where there are none, or no prompt has its target among the candidates.
    """
    examples = [*dataset.examples("script"), *dataset.examples("rl")]
    if not examples:
        raise TrainingError(
            f"data set '{dataset.name}' has no RL targets; prepare it with data.rl_targets of at least 1"
        )
    tasks = build_tasks(examples, environment)
    if not with_target_listed(tasks):
        raise TrainingError(
            f"none of {len(examples)} RL targets is among the TRM's {environment.config.retrieved} candidates, so "
            "there is nothing to learn from; raise rivals.one_shot.candidates, or fit the TRM longer"
        )
    return tasks


def copy_tasks(environment: Environment, count: int, seed: int) -> list[Task]:
    """`count` prompts for pasts cut from fit histories, without a target.

    The TRM was fitted on what followed these pasts. So nothing is learned here of which candidate
    comes next; only how a list is copied.
    """
    rng = np.random.default_rng((seed, 107))
    cuts = fit_examples(environment.dataset, count, rng)
    return build_tasks([replace(cut, target=0) for cut in cuts], environment)


def with_target_listed(tasks: Sequence[Task]) -> list[Task]:
    """Those whose target is among the candidates."""
    return [task for task in tasks if task.example.target in task.candidates]


def list_documents(
    tasks: Sequence[Task], environment: Environment, *, target_first: bool = True
) -> list[Document]:
    """Each prompt with the list to imitate; no loss on the prompt.

    The list is the TRM's order with the target moved to its top. Where no target is among the
    candidates, or none is to be moved, the first title carries no loss either: it is the TRM's
    favourite then, and learning to write it would teach to trust the TRM's first place beyond what
    it deserves.
    """
    size, catalog, codec = environment.config.recommended, environment.dataset.catalog, environment.codec
    documents = []
    for task in tasks:
        if not task.candidates:
            continue
        target = task.example.target
        is_listed = target_first and target in task.candidates
        ranking = task.candidates
        if is_listed:
            ranking = (target, *(item for item in ranking if item != target))
        ids = codec.encode(render_ranking(ranking[:size], catalog))
        mask = [1] * len(ids)
        if not is_listed:
            start, end = _first_title(catalog[ranking[0]].label, codec)
            mask[start:end] = [0] * (end - start)
        documents.append(Document((*task.prompt_ids, *ids), (*[0] * len(task.prompt_ids), *mask)))
    return documents


def _first_title(label: str, codec: Codec) -> tuple[int, int]:
    opening = f"{TAGS.begin_list}\n1. "
    return len(codec.encode(opening)), len(codec.encode(f"{opening}{label}"))
