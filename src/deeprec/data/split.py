"""The split by time, and the checks that it leaks nothing."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from math import inf

import polars as pl

from deeprec.data.dataset import Dataset
from deeprec.errors import DataError

_ORDER = {"fit": 0, "lead": 1, "script": 2, "rl": 3, "validation": 4, "gap": 5, "test": 6}
# Global time split: which parts lie between two cuts.
_WINDOWS = (("fit",), ("lead", "script", "rl"), ("validation", "gap"), ("test",))
_HELD_BACK = ("lead", "script", "rl")  # from the TRM, not from what DeepRec learns
_MIN_FIT = 2  # interactions that a user keeps in `fit` before any is held back from the TRM


def split_by_time(
    interactions: pl.DataFrame, rl_targets: int, script_targets: int = 0, rl_users: int | None = None
) -> pl.DataFrame:
    """Add `part` to rows that are grouped by user, oldest first.

    The last interaction of a user is `test`, the one before `validation`, up to
    `rl_targets` before those `rl` and up to `script_targets` before these `script` as long
    as two remain in `fit`, the rest `fit`. Users with fewer than three interactions go
    wholly into `fit`. With `rl_users` only so many users, those whose hashed ids are the
    smallest, have `rl` and `script` rows.
    """
    left = pl.len().over("user_id") - pl.int_range(pl.len()).over("user_id")  # 1 for the last row
    n = pl.len().over("user_id").cast(pl.Int64)
    spare = (n - 2 - _MIN_FIT).clip(0) * _held_back(interactions, rl_users)
    rl = spare.clip(0, rl_targets)
    script = (spare - rl).clip(0, script_targets)
    part = (
        pl.when(n < 3)
        .then(pl.lit("fit"))
        .when(left == 1)
        .then(pl.lit("test"))
        .when(left == 2)
        .then(pl.lit("validation"))
        .when(left <= 2 + rl)
        .then(pl.lit("rl"))
        .when(left <= 2 + rl + script)
        .then(pl.lit("script"))
        .otherwise(pl.lit("fit"))
    )
    return interactions.with_columns(part.alias("part"))


def split_at(
    interactions: pl.DataFrame,
    cuts: tuple[float, ...],
    rl_targets: int,
    script_targets: int = 0,
    rl_users: int | None = None,
) -> pl.DataFrame:
    """Add `part` to rows grouped by user, oldest first, by three times that hold for everyone.

    What is older than `cuts[0]` is `fit`. Of each later window (from a cut, included, to the
    next) some rows are targets, if two of the user's stand before them: the last
    `rl_targets` of the first window are `rl`, the `script_targets` before those `script`, the rest
    `lead`; the first row of the second is `validation`, the rest `gap`; the first of
    the third is `test`, the rest is dropped, since nothing may see it.
    """
    time, index = pl.col("timestamp"), pl.int_range(pl.len()).over("user_id")
    window = pl.sum_horizontal([(time >= cut).cast(pl.Int8) for cut in cuts])
    rows = interactions.with_columns(window.alias("_window"), index.alias("_index"))
    place = pl.int_range(pl.len()).over("user_id", "_window")
    left = pl.len().over("user_id", "_window") - place  # 1 for the last row of the window
    has_past = pl.col("_index") >= _MIN_FIT
    teaches = has_past & (_held_back(interactions, rl_users) == 1)
    window = pl.col("_window")
    part = (
        pl.when(window == 0)
        .then(pl.lit("fit"))
        .when(window == 1)
        .then(
            pl.when(teaches & (left <= rl_targets))
            .then(pl.lit("rl"))
            .when(teaches & (left <= rl_targets + script_targets))
            .then(pl.lit("script"))
            .otherwise(pl.lit("lead"))
        )
        .when((window == 2) & has_past & (place == 0))
        .then(pl.lit("validation"))
        .when(window == 2)
        .then(pl.lit("gap"))
        .when(has_past & (place == 0))
        .then(pl.lit("test"))
    )
    return (
        rows.with_columns(part.alias("part")).filter(pl.col("part").is_not_null()).drop("_window", "_index")
    )


def _held_back(interactions: pl.DataFrame, users: int | None) -> pl.Expr:
    """1 for rows of users who may have rows held back from the TRM, else 0."""
    if users is None:
        return pl.lit(1)
    known = interactions["user_id"].unique().cast(pl.String).to_list()
    chosen = sorted(known, key=lambda user: sha256(str(user).encode()).digest())[:users]
    return (
        pl.col("user_id")
        .is_in(pl.Series(chosen, dtype=interactions["user_id"].dtype).implode())
        .cast(pl.Int64)
    )


def refit_data(dataset: Dataset) -> Dataset:
    """The data set with everything before validation in the fit part; validation and test stay."""
    part = pl.when(pl.col("part").is_in(_HELD_BACK)).then(pl.lit("fit")).otherwise("part")
    return replace(dataset, interactions=dataset.interactions.with_columns(part.alias("part")))


def check_split(dataset: Dataset) -> None:
    """Raise DataError when the split leaks: parts out of order, or a user going back in time.

    Also checked: at most one validation and one test target per user, users in one block,
    item indices inside the catalogue, and (unless the data set allows repeats) no item
    twice for a user, since then a target could stand in its own history.
    """
    rows = dataset.interactions.with_columns(pl.col("user_id").cast(pl.Categorical))  # smaller to compare
    name = f"data set '{dataset.name}'"
    order = pl.col("part").replace_strict(_ORDER, default=None, return_dtype=pl.Int8)
    _refuse(rows.filter(order.is_null()), f"{name}: unknown part")
    _refuse(
        rows.filter(order.diff().over("user_id") < 0), f"{name}: a later part comes before an earlier one"
    )
    _refuse(rows.filter(pl.col("timestamp").diff().over("user_id") < 0), f"{name}: goes back in time")
    held_out = rows.filter(pl.col("part").is_in(["validation", "test"]))
    _refuse(
        held_out.filter(pl.struct("user_id", "part").is_duplicated()),
        f"{name}: more than one target in a part",
    )
    starts = rows.filter((pl.col("user_id") != pl.col("user_id").shift()).fill_null(True))
    _refuse(starts.filter(pl.col("user_id").is_duplicated()), f"{name}: rows of one user are apart")
    outside = ~pl.col("item_index").is_between(1, dataset.catalog.n_items)
    _refuse(rows.filter(outside), f"{name}: item index outside the catalogue")
    cuts = dataset.protocol.cuts
    for parts, (low, high) in zip(_WINDOWS, pairwise((-inf, *cuts, inf)), strict=True) if cuts else ():
        elsewhere = (pl.col("timestamp") < low) | (pl.col("timestamp") >= high)
        _refuse(rows.filter(pl.col("part").is_in(parts) & elsewhere), f"{name}: on the wrong side of a cut")
    if not dataset.allow_repeats:
        user = pl.col("user_id").to_physical().cast(pl.UInt64)
        pair = user * 2**32 + pl.col("item_index").cast(pl.UInt64)
        _refuse(rows.filter(pair.is_duplicated()), f"{name}: an item stands twice")


def _refuse(rows: pl.DataFrame, problem: str) -> None:
    if rows.height:
        raise DataError(f"{problem} (user '{rows['user_id'][0]}'); prepare the data again")
