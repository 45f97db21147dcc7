"""The model writes one list for each prompt; what it sampled is a trajectory without turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from deeprec.errors import PolicyError
from deeprec.progress import Bar
from deeprec.rivals.one_shot.prompts import Task, read_list, room_of
from deeprec.rollout.engines.base import Request, Segment
from deeprec.rollout.environment import Environment
from deeprec.rollout.episode import stop_sampling
from deeprec.rollout.lists import ListWriter
from deeprec.rollout.protocol import render_ranking, resolve_lines
from deeprec.rollout.tags import TAGS
from deeprec.types import StopReason, Trajectory

OneShotRanking = Literal["generate", "score", "constrained"]


def rank_tasks(
    tasks: Sequence[Task],
    environment: Environment,
    *,
    greedy: bool,
    ranking: OneShotRanking = "generate",
    writer: ListWriter | None = None,
    bar: Bar | None = None,
) -> list[Trajectory]:
    """One trajectory per task, in order; repeat a task to sample a group.

    The candidates stand in the prompt, so that the response is the model's alone: the mask is 1 on
    all of it. Where `ranking` is not `generate` the list is made from the model's likelihoods
    and nothing is sampled: the mask is 0. `writer` is what those are asked of.
    """
    found: list[Trajectory] = []
    environment.engine.forget()
    try:
        for start in range(0, len(tasks), environment.config.users_per_batch):
            batch = tasks[start : start + environment.config.users_per_batch]
            if ranking == "generate":
                found += _generate(batch, start, environment, greedy=greedy)
            else:
                found += _likeliest(batch, environment, ranking, writer)
            if bar is not None:
                bar.advance(len(batch))
    finally:
        environment.engine.forget()  # its memory is for others now
    return found


def _generate(
    tasks: Sequence[Task], first_key: int, environment: Environment, *, greedy: bool
) -> list[Trajectory]:
    sampling = stop_sampling(environment.codec, environment.config, greedy=greedy)
    requests = [
        Request(key, task.prompt_ids, room_of(task, environment)) for key, task in enumerate(tasks, first_key)
    ]
    segments = environment.engine.generate(requests, sampling)
    return [
        _trajectory(task, segment, environment, room=request.max_new_tokens)
        for task, segment, request in zip(tasks, segments, requests, strict=True)
    ]


def _likeliest(
    tasks: Sequence[Task], environment: Environment, ranking: OneShotRanking, lists: ListWriter | None
) -> list[Trajectory]:
    codec, size = environment.codec, environment.config.recommended
    if lists is None:
        raise PolicyError(
            f"rivals.one_shot.ranking = '{ranking}' needs the model in this process; use `generate`"
        )
    contexts = [task.prompt_ids + tuple(codec.encode(TAGS.begin_list)) for task in tasks]
    pools = [task.candidates for task in tasks]
    if ranking == "constrained":
        chosen = lists.write(contexts, pools, size)
    else:
        # Equal likelihoods keep the TRM's order.
        orders = [np.argsort(-scores, kind="stable")[:size] for scores in lists.scores(contexts, pools)]
        chosen = [[pool[place] for place in order] for pool, order in zip(pools, orders, strict=True)]
    found = []
    for task, items in zip(tasks, chosen, strict=True):
        ids = tuple(codec.encode(render_ranking(items, environment.dataset.catalog)))
        segment = Segment(ids, (0.0,) * len(ids), stopped=True)
        found.append(_trajectory(task, segment, environment, sampled=False))
    return found


def _trajectory(
    task: Task, segment: Segment, environment: Environment, *, sampled: bool = True, room: int = 0
) -> Trajectory:
    text = environment.codec.decode(segment.token_ids)
    written = read_list(text)
    items = resolve_lines(written.lines, environment.dataset.catalog)
    if segment.stopped:
        closed = text.rstrip().endswith(TAGS.end_list)
        stop = StopReason.FINISHED if closed else StopReason.NO_LIST
    else:
        cut = room < environment.config.segment_tokens
        stop = StopReason.TOKEN_LIMIT if cut else StopReason.SEGMENT_LIMIT
    return Trajectory(
        user_id=task.example.user_id,
        prompt_ids=task.prompt_ids,
        response_ids=segment.token_ids,
        loss_mask=(int(sampled),) * len(segment.token_ids),
        logprobs=segment.logprobs,
        prompt=task.prompt,
        response=text,
        turns=(),
        lines=written.lines,
        ranking=tuple(dict.fromkeys(item for item in items if item)),
        stop_reason=stop,
        format_errors=written.errors,
    )
