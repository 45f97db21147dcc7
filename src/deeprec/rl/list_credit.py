"""What each line of a drawn list earned, held against the other lists drawn from the same distribution.

The lists of one trajectory are a group of their own: they share all that was said before, so that
their differences are the ranking's alone. A line gets what is earned from it on, less the mean over
the lists for which that was still open: A(l, k) = G(l, k) - mean of G(m, k) over the m that are open at k, where
G(l, k) is the sum of what the lines k, k + 1, ... of list l earn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.rewards.mixture import RewardSpace
from deeprec.rewards.outcome import HIT, RANK_SCALE, line_similarities
from deeprec.rl.advantages import VARIANCE_FLOOR
from deeprec.types import Draw, Example, Trajectory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ListPlan:
    """A draw and the advantages (L, K) of its lines."""

    draw: Draw
    advantages: Floats


def plan_lists(
    trajectories: Sequence[Trajectory],
    examples: Sequence[Example],
    weights: Mapping[str, float],
    space: RewardSpace,
) -> list[ListPlan | None]:
    """Scaled credit of every drawn list of a batch; None where none was drawn, or none of a valid trajectory."""
    draws = [found.draw if found.is_valid and found.ranking else None for found in trajectories]
    known = {
        place: list_advantages(draw, examples[place].target, weights, space)
        for place, draw in enumerate(draws)
        if draw is not None
    }
    scaled = dict(zip(known, scale(list(known.values())), strict=True))
    return [None if draw is None else ListPlan(draw, scaled[place]) for place, draw in enumerate(draws)]


def list_advantages(draw: Draw, target: int, weights: Mapping[str, float], space: RewardSpace) -> Floats:
    """Advantages (L, K) of the lines of L lists of K items, not scaled yet.

    `weights` are the stage's, of which `hit`, `rank` and `similarity` reach a list's lines; `target` is an item.
    """
    lists = np.array(draw.lists, dtype=np.int64)  # (L, K)
    found = _hit_advantages(lists, target, weights, space.recommended)
    similarity = weights.get("similarity", 0.0)
    if similarity:
        lines = [line_similarities(row, target, space.text_vectors, space.item_vectors) for row in draw.lists]
        to_go = np.cumsum(np.array(lines)[:, ::-1], axis=1)[:, ::-1]
        found = found + similarity * (to_go - to_go.mean(axis=0))
    return found


def _hit_advantages(
    lists: NDArray[np.int64], target: int, weights: Mapping[str, float], recommended: int
) -> Floats:
    """Of the hit and its rank: nothing for lines below a hit, which can't change it."""
    size = lists.shape[1]
    is_hit = lists == target
    place = np.where(is_hit.any(axis=1), is_hit.argmax(axis=1), size)  # (L,); behind the last line: no hit
    rank = RANK_SCALE * (recommended - place)
    earned = np.where(place < size, weights.get("hit", 0.0) * HIT + weights.get("rank", 0.0) * rank, 0.0)
    is_open = np.arange(size) <= place[:, None]  # (L, K)
    expected = (earned[:, None] * is_open).sum(axis=0) / np.maximum(is_open.sum(axis=0), 1)
    return np.asarray(np.where(is_open, earned[:, None] - expected, 0.0), dtype=np.float64)


def scale(advantages: Sequence[Floats]) -> list[Floats]:
    """All of a batch over their common deviation; without any difference they stay zero.

    A / sqrt(max(mean of A^2, 1e-8)): they have a mean of zero already, list by list.
    """
    if not advantages:
        return []
    squares = np.concatenate([np.square(found).ravel() for found in advantages])
    deviation = np.sqrt(max(squares.mean(), VARIANCE_FLOOR)) if len(squares) else 1.0
    return [found / deviation for found in advantages]
