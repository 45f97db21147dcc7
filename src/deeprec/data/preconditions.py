"""What the data must have for the stages that the settings ask for, known before any of them has begun."""

from __future__ import annotations

import polars as pl

from deeprec.data.dataset import Dataset
from deeprec.errors import DataError
from deeprec.settings import RunConfig

# Interactions that a user needs for a target, with what stands before and behind it (see `split_by_time`).
_NEEDED = {"validation": 3, "test": 3, "rl": 5}


def check_targets(dataset: Dataset, config: RunConfig) -> None:
    """Raise DataError where a part that a stage needs has no target: evaluation, choosing the TRM, or RL."""
    problem = missing_targets(dataset, config)
    if problem:
        raise DataError(problem)


def missing_targets(dataset: Dataset, config: RunConfig) -> str:
    """Why a stage could not run with this data set, and what to do; empty where every one could."""
    if dataset.withheld:
        return f"{dataset.without_users()}; train in a run with data of its own"
    stages = sum(1 for stage in (config.rl.cold_start, config.rl.recommendation) if stage.steps)
    for part in ("test", "validation", *(["rl"] if stages else [])):
        if not dataset.interactions["part"].eq(part).any():
            return _problem(dataset, config, part)
    users = dataset.interactions.filter(pl.col("part") == "rl")["user_id"].n_unique()
    if users < stages:  # no user is in the pools of both
        return (
            f"data set '{dataset.name}': only {users} user has RL targets, and each of the two stages of RL needs "
            "users of its own; take more users with 5 interactions, or set the steps of one stage to 0"
        )
    return ""


def _problem(dataset: Dataset, config: RunConfig, part: str) -> str:
    lengths = dataset.interactions.group_by("user_id").len()["len"]
    longest = max(lengths.to_list(), default=0)
    name = "an RL" if part == "rl" else f"a {part}"
    if part == "rl" and not config.data.rl_targets:
        return (
            f"data set '{dataset.name}': no user has an RL target, since data.rl_targets = 0; raise it, or go without "
            "RL: set rl.cold_start.steps and rl.recommendation.steps to 0"
        )
    if config.data.split == "time":
        return (
            f"data set '{dataset.name}': no user has {name} target: each needs two interactions before it, in "
            "time; change data.time_cuts or the shares"
        )
    remedy = "take users with longer histories"
    if part == "rl":
        remedy += ", or go without RL: set rl.cold_start.steps and rl.recommendation.steps to 0"
    return (
        f"data set '{dataset.name}': no user has {name} target: that takes {_NEEDED[part]} interactions of a user, "
        f"the longest history has {longest} (repeats of an item are left out unless data.allow_repeats); {remedy}"
    )
