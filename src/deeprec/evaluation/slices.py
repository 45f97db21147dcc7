"""Which users a method serves well: short and long histories, head and tail targets, cold items.

A slice is made from a user's history and target alone, so it is the same for every method. Bounds
on the history are those of the whole part, so that a sample is sliced as the part is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from deeprec.evaluation.beyond import Yardstick
from deeprec.evaluation.bootstrap import mean_intervals
from deeprec.evaluation.comparison import Columns
from deeprec.evaluation.summary import Slice
from deeprec.metrics import RANKING_METRICS
from deeprec.types import Example

COLD_BELOW = 5  # fit interactions

Masks = dict[tuple[str, str], NDArray[np.bool_]]  # (name, title) -> users (U,)


def slice_masks(examples: Sequence[Example], part: Sequence[Example], yardstick: Yardstick) -> Masks:
    """The slices of `examples`; `part` is all examples of the part, which says what is short and long."""
    lengths = np.array([len(example.history) for example in examples])
    targets = np.array([example.target for example in examples])
    # Lengths that occur: at least a quarter of the part is at or below the first, and above the second.
    short, long = np.quantile([len(example.history) for example in part], [0.25, 0.75], method="inverted_cdf")
    long = max(long, short + 1)  # nobody is both, where most histories are equally long
    head = yardstick.head
    times = yardstick.interactions[targets]
    return {
        ("short history", f"history of at most {short} items"): lengths <= short,
        ("long history", f"history of {long} items or more"): lengths >= long,
        ("head target", f"target among the {head.sum()} items that make 80% of the fit part"): head[targets],
        ("tail target", f"target among the other {len(head) - 1 - head.sum()} items"): ~head[targets],
        ("cold target", f"target with fewer than {COLD_BELOW} interactions in the fit part"): times
        < COLD_BELOW,
        ("unseen target", "target without an interaction in the fit part"): times == 0,
    }


def slice_summaries(masks: Masks, per_user: Mapping[str, Columns], resamples: int, seed: int) -> list[Slice]:
    """Ranking metrics of every method with intervals, slice by slice; an empty slice has none."""
    found = []
    for (name, title), mask in masks.items():
        metrics = {}
        if mask.any():
            keys = [(method, metric) for method in per_user for metric in RANKING_METRICS]
            values = np.stack([per_user[method][metric][mask] for method, metric in keys], axis=1)
            intervals = dict(zip(keys, mean_intervals(values, resamples, seed), strict=True))
            metrics = {
                method: {metric: intervals[method, metric] for metric in RANKING_METRICS}
                for method in per_user
            }
        found.append(Slice(name=name, title=title, users=int(mask.sum()), metrics=metrics))
    return found
