"""Methods held against each other on the same users: intervals, differences, tests.

All columns of all methods are resampled together, by the same draws: the draws are what costs,
not the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deeprec.errors import EvaluationError
from deeprec.evaluation.bootstrap import Difference, Interval, intervals_of, resampled_means
from deeprec.evaluation.permutation import holm, sign_flip_p_values

Columns = dict[str, NDArray[np.float64]]  # metric -> value of each user (U,); NaN where there is none
Pair = tuple[str, str]  # a method, and the baseline it is held against

TESTED = ("ndcg@10", "recall@10")


@dataclass(frozen=True)
class Comparison:
    """What `compare_methods` finds, by method, and for differences by baseline. `family` is Holm's."""

    metrics: dict[str, dict[str, Interval]]
    differences: dict[str, dict[str, dict[str, Difference]]]
    family: int


def compare_methods(
    per_user: Mapping[str, Columns],
    pairs: Sequence[Pair],
    resamples: int,
    permutations: int,
    seed: int,
) -> Comparison:
    """Mean, interval and paired differences of every metric; row u of every column is the same user.

    Metrics without any value (the diversity of lists that are all empty) are left out. NDCG@10 and
    Recall@10 are tested besides by sign flips, and the p-values adjusted by Holm's procedure over all
    comparisons given; a pair given both ways is one comparison. Raises EvaluationError for
    methods on different numbers of users, or a pair without a common metric.
    """
    table = _Table(per_user, pairs)
    draws = resampled_means(table.values, resamples, seed)
    intervals = dict(zip(table.keys, intervals_of(table.values, draws), strict=True))
    tests = _tests(per_user, pairs, permutations, seed)
    metrics = {
        name: {metric: intervals[name, "", metric] for metric in columns if (name, "", metric) in intervals}
        for name, columns in per_user.items()
    }
    for name, found in metrics.items():
        lift = _lift(table, draws, name)
        if lift is not None:
            found["popularity_lift"] = lift
    differences: dict[str, dict[str, dict[str, Difference]]] = {name: {} for name in per_user}
    for method, baseline in pairs:
        differences[method][baseline] = {
            metric: _difference(
                intervals[method, baseline, metric],
                metrics[baseline][metric].mean,
                tests.get((frozenset((method, baseline)), metric)),
            )
            for metric in per_user[method]
            if (method, baseline, metric) in intervals
        }
        if not differences[method][baseline]:
            raise EvaluationError(f"'{method}' and '{baseline}' share no metric; they can't be compared")
    return Comparison(metrics, differences, len(tests))


class _Table:
    """Every column that is resampled, side by side: keys are (method, "" or baseline, metric)."""

    def __init__(self, per_user: Mapping[str, Columns], pairs: Sequence[Pair]) -> None:
        sizes = {name: len(values) for name, columns in per_user.items() for values in columns.values()}
        if len(set(sizes.values())) > 1:
            raise EvaluationError(f"not the same users: {sizes} rows by method")
        found = {
            (name, "", metric): values
            for name, columns in per_user.items()
            for metric, values in columns.items()
        }
        # A column of its own, not the difference of two means: equal methods then differ by exactly 0.
        found |= {
            (method, baseline, metric): values - per_user[baseline][metric]
            for method, baseline in pairs
            for metric, values in per_user[method].items()
            if metric in per_user[baseline] and metric != "history_popularity"  # the same for all
        }
        for name, columns in per_user.items():
            if "popularity" in columns and "history_popularity" in columns:
                known = ~np.isnan(columns["popularity"] + columns["history_popularity"])
                for metric in ("popularity", "history_popularity"):
                    found[name, "lift", metric] = np.where(known, columns[metric], np.nan)
        found = {key: values for key, values in found.items() if not np.isnan(values).all()}
        self.keys = list(found)
        self.places = {key: place for place, key in enumerate(self.keys)}
        self.values = np.stack(list(found.values()), axis=1)


def _lift(table: _Table, draws: NDArray[np.float64], name: str) -> Interval | None:
    """Mean popularity of the lists over that of the histories, minus 1, of users who have both.

    A ratio of means, not a mean of ratios (Abdollahpouri et al. 2020): a history of rare items alone would
    weigh without bound. None where there is nothing to divide by.
    """
    keys = [(name, "lift", metric) for metric in ("popularity", "history_popularity")]
    if not all(key in table.places for key in keys):
        return None
    places = [table.places[key] for key in keys]
    columns = table.values[:, places]
    means = np.nanmean(columns, axis=0)
    if means[1] == 0:
        return None
    known = int((~np.isnan(columns[:, 0])).sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = draws[:, places[0]] / draws[:, places[1]] - 1.0
    # A resample that drew nobody with a history has no ratio, and says nothing.
    low, high = np.quantile(ratios[np.isfinite(ratios)], [0.025, 0.975])
    return Interval(
        mean=float(means[0] / means[1] - 1.0),
        low=float(low),
        high=float(high),
        users=None if known == len(columns) else known,
    )


def _tests(
    per_user: Mapping[str, Columns], pairs: Sequence[Pair], permutations: int, seed: int
) -> dict[tuple[frozenset[str], str], tuple[float, float]]:
    """p-value and Holm's adjusted one of each unordered pair and tested metric."""
    wanted = {
        (frozenset((method, baseline)), metric): per_user[method][metric] - per_user[baseline][metric]
        for method, baseline in pairs
        for metric in TESTED
        if metric in per_user[method] and metric in per_user[baseline]
    }
    if not wanted:
        return {}
    found = sign_flip_p_values(np.stack(list(wanted.values()), axis=1), permutations, seed).tolist()
    return dict(zip(wanted, zip(found, holm(found), strict=True), strict=True))


def _difference(interval: Interval, level: float, test: tuple[float, float] | None) -> Difference:
    p_value, holm_p = test if test is not None else (None, None)
    relative = interval.mean / abs(level) if level != 0 else None
    return Difference(**interval.model_dump(), relative=relative, p_value=p_value, holm_p=holm_p)
