"""Outcome rewards: how good the final list is.

They read the list line by line, since rank and position weights count from the line that
an item was written on. A line that names no catalogue item, or repeats an earlier one,
keeps its place in the list, is similar to nothing and can't be a hit. (Dropping it would
let a list of one good title, written ten times, pass for perfect.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.data.catalog import Catalog
from deeprec.rollout.tags import TAGS
from deeprec.types import Trajectory

_TAGS = TAGS.all
LIST_PENALTY = -1.0
HIT = 1.0
RANK_SCALE = 0.2
SIMILARITY_SCALE = 10.0


def list_format_reward(trajectory: Trajectory, recommended: int) -> float:
    """0 when the list holds exactly `recommended` (K) lines and no tag, else -1."""
    whole = len(trajectory.lines) == recommended
    stray = any(tag in line for tag in _TAGS for line in trajectory.lines)
    return 0.0 if whole and not stray else LIST_PENALTY


def items_by_line(trajectory: Trajectory, catalog: Catalog) -> tuple[int, ...]:
    """Item index of every recommended line; 0 where it resolves to none or repeats an earlier one."""
    seen: set[int] = set()
    items = []
    for line in trajectory.lines:
        item = catalog.resolve(line) or 0
        items.append(0 if item in seen else item)
        seen.add(item)
    return tuple(items)


def hit_reward(items: Sequence[int], target: int) -> float:
    """1 when the target is in the list, else 0."""
    return HIT if target in items else 0.0


def rank_reward(items: Sequence[int], target: int, recommended: int) -> float:
    """0.2 x (K - i) when the target stands on line i, counted from 0; else 0."""
    return RANK_SCALE * (recommended - list(items).index(target)) if target in items else 0.0


def similarity_reward(
    items: Sequence[int],
    target: int,
    text_vectors: NDArray[np.floating],
    item_vectors: NDArray[np.floating] | None,
) -> float:
    """10 x the weighted mean similarity of the n listed items to the target.

    w_i = (1 - i/n)^2 for line i; s_i = mean of the two cosines, in text space
    (n_items + 1, D_text) and in TRM item space (n_items + 1, D); text space alone where
    the TRM has no item vectors. Rows are unit length or zero; row 0 (no item) is zero.
    """
    return float(line_similarities(items, target, text_vectors, item_vectors).sum())


def line_similarities(
    items: Sequence[int],
    target: int,
    text_vectors: NDArray[np.floating],
    item_vectors: NDArray[np.floating] | None,
) -> NDArray[np.float64]:
    """What each of the n lines adds to the similarity reward (n,)."""
    if not items:
        return np.zeros(0)
    rows = np.asarray(items)
    spaces = [text_vectors] if item_vectors is None else [text_vectors, item_vectors]
    cosines = np.mean([space[rows] @ space[target] for space in spaces], axis=0)  # (n,)
    cosines = np.where(rows > 0, cosines, 0.0)
    weights = (1.0 - np.arange(len(rows)) / len(rows)) ** 2
    return np.asarray(SIMILARITY_SCALE * weights * cosines / weights.sum(), dtype=np.float64)
