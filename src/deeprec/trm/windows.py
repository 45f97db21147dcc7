"""Histories cut into windows, and windows put together into batches with little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

_BATCHES_PER_POOL = 32  # windows are sorted by length within so many batches

Window = Sequence[int] | NDArray[np.int64]


def cut_windows(histories: Sequence[Window], length: int, rng: np.random.Generator) -> list[Window]:
    """Cut histories into windows of at most `length` items, at other places each time.

    Windows follow each other without overlap; the first one of a long history is cut short
    at random. Windows of one item train the state that knows nothing yet.
    """
    windows: list[Window] = []
    for history in histories:
        first = int(rng.integers(1, length + 1)) if len(history) > length else length
        bounds = [0, *range(first, len(history), length), len(history)]
        windows += [history[a:b] for a, b in pairwise(bounds) if b > a]
    return windows


def leave_out(windows: Sequence[Window], share: float, rng: np.random.Generator) -> list[Window]:
    """Windows without a random `share` of their items on the mean: each loses its own share, up to twice that.

    Windows of which fewer than two items are left are left out whole: nothing would be read.
    """
    kept: list[Window] = []
    for window in windows:
        items = np.asarray(window, dtype=np.int64)
        left = items[rng.random(len(items)) >= 2 * share * rng.random()]
        if len(left) > 1:
            kept.append(left)
    return kept


def cut_batches(windows: Sequence[Window], tokens: int, rng: np.random.Generator) -> Iterator[list[Window]]:
    """Every window once, in random batches of at most `tokens` places, padding included.

    Windows of similar length come together, so that little is padded; a window longer than
    `tokens` is a batch of its own.
    """
    lengths = np.array([len(window) for window in windows])
    order = rng.permutation(len(windows))
    pool = max(1, round(_BATCHES_PER_POOL * tokens / lengths.mean()))
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        part = order[start : start + pool]
        batch: list[int] = []
        for row in part[
            np.argsort(lengths[part], kind="stable")
        ].tolist():  # ascending: the new one is longest
            if batch and lengths[row] * (len(batch) + 1) > tokens:
                batches.append(batch)
                batch = []
            batch.append(row)
        batches.append(batch)
    for place in rng.permutation(len(batches)):
        yield [windows[row] for row in batches[place]]


def pad_right(histories: Sequence[Window], device: torch.device | str = "cpu") -> torch.Tensor:
    """Item indices (B, longest), 0 behind the end of each history."""
    longest = max(len(items) for items in histories)
    padded = np.zeros((len(histories), longest), dtype=np.int64)
    for row, items in enumerate(histories):
        padded[row, : len(items)] = items
    return torch.from_numpy(padded).to(device)
