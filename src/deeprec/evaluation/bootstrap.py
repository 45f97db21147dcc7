"""Paired bootstrap over users: intervals of means and of differences."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from deeprec.errors import EvaluationError

Verdict = Literal["ahead", "behind", "no clear difference"]
_CHUNK_CELLS = 2_000_000  # drawn users held in memory at once


class Interval(BaseModel):
    """A mean over users and its 95% bootstrap interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float


class Difference(Interval):
    """Mean difference to a baseline on the same users, its interval, and what it is in relation.

    `relative` is the difference divided by the size of the baseline's mean; None where that is 0.
    """

    relative: float | None = None

    @property
    def verdict(self) -> Verdict:
        """What the interval allows to say; an interval that touches 0 allows nothing."""
        if self.low > 0:
            return "ahead"
        if self.high < 0:
            return "behind"
        return "no clear difference"


def resampled_means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Means (R, D) of R resamples of the users of `values` (U, D).

    All columns share the same draws, which is what makes differences between them paired.
    The same seed, U and R give the same draws, whatever D is.
    """
    users = values.shape[0]
    if users == 0:
        raise EvaluationError("no users to resample; the evaluated part is empty")
    generator = np.random.default_rng(seed)
    found = np.empty((resamples, values.shape[1]))
    chunk = max(1, _CHUNK_CELLS // users)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(0, users, size=(size, users))
        drawn += np.arange(size)[:, None] * users
        counts = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)  # (chunk, U)
        found[start : start + size] = counts @ values / users
    return found


def mean_intervals(values: NDArray[np.float64], resamples: int, seed: int) -> list[Interval]:
    """Mean and 95% percentile interval of every column of `values` (U, D)."""
    draws = resampled_means(values, resamples, seed)
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    mean = values.mean(axis=0)
    return [
        Interval(mean=float(m), low=float(a), high=float(b)) for m, a, b in zip(mean, low, high, strict=True)
    ]


def paired_differences(
    values: NDArray[np.float64],
    baseline: NDArray[np.float64],
    resamples: int,
    seed: int,
) -> list[Difference]:
    """Difference of each column (U, D) to the baseline's column (U, D), same users row by row."""
    if values.shape != baseline.shape:
        raise EvaluationError(f"can't pair {values.shape} values with {baseline.shape}: not the same users")
    spread = mean_intervals(values - baseline, resamples, seed)
    levels = baseline.mean(axis=0)
    return [
        Difference(**entry.model_dump(), relative=entry.mean / abs(float(level)) if level != 0 else None)
        for entry, level in zip(spread, levels, strict=True)
    ]
