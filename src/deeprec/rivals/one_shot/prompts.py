"""What the model is shown: a history and the TRM's plain list. And how its list is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deeprec.config import RolloutConfig
from deeprec.data.dataset import Dataset
from deeprec.errors import PolicyError
from deeprec.rollout.environment import Environment
from deeprec.rollout.protocol import (
    FinalList,
    parse_list,
    render_history,
    render_items,
    render_profile,
    render_ranking,
)
from deeprec.rollout.specimen import specimen
from deeprec.rollout.tags import TAGS
from deeprec.trm.base import Retriever
from deeprec.trm.recommender import TRMRecommender
from deeprec.types import Example

_FULL = """\
You rank what a user may want next. A recommendation model that knows the user's history has listed \
{count} items, those that it takes for the likeliest first. Put them into a better order by what the \
history tells, and write the best {n} of them, the likeliest first, each as it was listed and on a numbered line:
{t.begin_list}
1. title of the best item
2. title of the next item
{t.end_list}

{profile}The user's history, oldest first:
{history}
{items}"""
_COMPACT = "{profile}History\n{history}{items}"


@dataclass(frozen=True, slots=True)
class Task:
    """One user's prompt: `candidates` are the item indices that stand in it, in the TRM's order."""

    example: Example
    candidates: tuple[int, ...]
    prompt: str
    prompt_ids: tuple[int, ...]


def plain_lists(
    examples: Sequence[Example], dataset: Dataset, retriever: Retriever, size: int
) -> list[tuple[int, ...]]:
    """The TRM's `size` best items for each history, without a preference; fewer where the catalogue ends."""
    return [found.ranking for found in TRMRecommender(retriever, dataset).recommend(examples, size)]


def build_tasks(examples: Sequence[Example], environment: Environment) -> list[Task]:
    """Prompts of the examples, in order, with `config.retrieved` candidates each.

    Never looks at `Example.target`. Raises PolicyError where prompt and list don't fit into the
    model's context, or the list not into what may be written.
    """
    dataset, config, codec = environment.dataset, environment.config, environment.codec
    lists = plain_lists(examples, dataset, environment.retriever, config.retrieved)
    tasks = []
    for example, candidates in zip(examples, lists, strict=True):
        prompt = render_one_shot(example, candidates, dataset, config)
        task = Task(example, candidates, prompt, tuple(codec.encode_prompt(prompt, chat=config.chats)))
        _check_room(task, environment)
        tasks.append(task)
    return tasks


def render_one_shot(
    example: Example, candidates: Sequence[int], dataset: Dataset, config: RolloutConfig
) -> str:
    """History, then the numbered candidates; ends where the model is to open its list."""
    return (_COMPACT if config.template == "compact" else _FULL).format(
        t=TAGS,
        count=len(candidates),
        n=min(config.recommended, len(candidates)),
        profile=render_profile(example, config),
        history=render_history(example, dataset.catalog, config),
        items=render_items(candidates, dataset.catalog, config.list_fields),
    )


def specimen_prompt(config: RolloutConfig) -> str:
    """The prompt of a fixed small case, by which two versions of it are told apart."""
    dataset = specimen()
    shown = range(1, dataset.catalog.n_items + 1)
    return render_one_shot(dataset.fit_histories()[0], shown, dataset, config)


def read_list(text: str) -> FinalList:
    """The lines of a list as the model wrote it, and what is wrong with its form.

    A one-shot list has no reasoning before it; the protocol's parser is told that it is closed.
    """
    return parse_list(f"Ranked.{TAGS.end_think}\n{text}")


def room_of(task: Task, environment: Environment) -> int:
    """Tokens that the list may have."""
    config = environment.config
    left = environment.engine.context_length - len(task.prompt_ids)
    return min(config.segment_tokens, config.response_tokens, left)


def _check_room(task: Task, environment: Environment) -> None:
    """A context or cap that can't hold the list is the user's setting, not the model's mistake."""
    config = environment.config
    listed = render_ranking(task.candidates[: config.recommended], environment.dataset.catalog)
    needed, prompt = len(environment.codec.encode(listed)), len(task.prompt_ids)
    context = environment.engine.context_length
    if prompt + needed > context:
        raise PolicyError(
            f"user '{task.example.user_id}': a prompt with {len(task.candidates)} candidates has {prompt} tokens and "
            f"its list {needed}, and the model reads {context} tokens at most; lower rivals.one_shot.candidates "
            f"({config.retrieved}) or rollout.history ({config.history}), or take a model with a longer context"
        )
    if needed > room_of(task, environment):
        raise PolicyError(
            f"user '{task.example.user_id}': a list of {config.recommended} titles has {needed} tokens, more than "
            f"rollout.segment_tokens ({config.segment_tokens}) or rollout.response_tokens ({config.response_tokens}) "
            "allow; raise them"
        )
