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
    """A mean over users and its 95% bootstrap interval.

    `users` is how many users have a value, where not all of them have (an empty list has no
    diversity); None: all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float
    high: float
    users: int | None = None


class Difference(Interval):
    """Mean difference to a baseline on the same users, its interval, and what it is in relation.

    `relative` is the difference divided by the size of the baseline's mean; None where that is 0.
    `p_value` is that of the paired permutation test, `holm_p` the same after Holm's correction over
    all comparisons of the evaluation; None for metrics that are not tested.
    """

    relative: float | None = None
    p_value: float | None = None
    holm_p: float | None = None

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
    The same seed, U and R give the same draws, whatever D is. NaN is no value: a mean is over the
    drawn users who have one, and NaN where none of the drawn has.
    """
    users = values.shape[0]
    if users == 0:
        raise EvaluationError("no users to resample; the evaluated part is empty")
    generator = np.random.default_rng(seed)
    found = np.empty((resamples, values.shape[1]))
    known = ~np.isnan(values)
    holes = np.flatnonzero(~known.all(axis=0))
    filled, counted = np.where(known, values, 0.0), known[:, holes].astype(np.float64)
    chunk = max(1, _CHUNK_CELLS // users)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(0, users, size=(size, users))
        drawn += np.arange(size)[:, None] * users
        # How often each user was drawn: one product then gives the sums of all columns, without copying a row.
        counts = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users).astype(np.float64)
        part = found[start : start + size]
        np.matmul(counts, filled, out=part)
        sizes = (
            np.full(values.shape[1], float(users)) if not len(holes) else np.full(part.shape, float(users))
        )
        if len(holes):
            sizes[:, holes] = counts @ counted
        with np.errstate(invalid="ignore"):
            part /= sizes
    return found


def mean_intervals(values: NDArray[np.float64], resamples: int, seed: int) -> list[Interval]:
    """Mean and 95% percentile interval of every column of `values` (U, D), over the users who have a value.

    Raises EvaluationError for a column without any value.
    """
    return intervals_of(values, resampled_means(values, resamples, seed))


def intervals_of(values: NDArray[np.float64], draws: NDArray[np.float64]) -> list[Interval]:
    """The same from resampled means (R, D) that are there already."""
    known = (~np.isnan(values)).sum(axis=0)
    if not known.all():
        raise EvaluationError(f"column {int(np.argmin(known))} has no value for any user; leave it out")
    # A resample that drew nobody with a value says nothing; nanquantile is slow, and rarely needed.
    quantile = np.nanquantile if np.isnan(draws).any() else np.quantile
    low, high = quantile(draws, [0.025, 0.975], axis=0)
    return [
        Interval(mean=float(m), low=float(a), high=float(b), users=None if n == len(values) else int(n))
        for m, a, b, n in zip(_column_means(values), low, high, known, strict=True)
    ]


def _column_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.nanmean(values, axis=0) if np.isnan(values).any() else values.mean(axis=0))


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
