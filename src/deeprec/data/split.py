"""The split by time, and the checks that it leaks nothing."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from math import inf

import numpy as np
import polars as pl
from numpy.typing import NDArray

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
    place, left = _places(_changes(interactions, "user_id"))
    length = place + left
    spare = np.maximum(length - 2 - _MIN_FIT, 0) * _held_back(interactions, rl_users)
    rl = np.minimum(spare, rl_targets)
    script = np.minimum(spare - rl, script_targets)
    part = np.select(
        [length < 3, left == 1, left == 2, left <= 2 + rl, left <= 2 + rl + script],
        [_code("fit"), _code("test"), _code("validation"), _code("rl"), _code("script")],
        _code("fit"),
    )
    return interactions.with_columns(_named(part))


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
    times = interactions["timestamp"].to_numpy()
    window = np.searchsorted(np.array(cuts), times, side="right").astype(np.int8)
    new_user = _changes(interactions, "user_id")
    has_past = _places(new_user)[0] >= _MIN_FIT
    place, left = _places(new_user | (np.diff(window, prepend=np.int8(-1)) != 0))  # in the user's window
    teaches = (window == 1) & has_past & (_held_back(interactions, rl_users) == 1)
    first = has_past & (place == 0)
    part = np.select(
        [
            window == 0,
            teaches & (left <= rl_targets),
            teaches & (left <= rl_targets + script_targets),
            window == 1,
            (window == 2) & first,
            window == 2,
            first,
        ],
        [_code(name) for name in ("fit", "rl", "script", "lead", "validation", "gap", "test")],
        np.int8(-1),
    )
    return interactions.with_columns(_named(part)).filter(pl.Series(part >= 0))


def _held_back(interactions: pl.DataFrame, users: int | None) -> NDArray[np.int8] | np.int8:
    """1 for rows of users who may have rows held back from the TRM, else 0."""
    if users is None:
        return np.int8(1)
    known = interactions["user_id"].unique().cast(pl.String).to_list()
    chosen = sorted(known, key=lambda user: sha256(str(user).encode()).digest())[:users]
    return interactions["user_id"].cast(pl.String).is_in(chosen).to_numpy().astype(np.int8)


def _changes(rows: pl.DataFrame, name: str) -> NDArray[np.bool_]:
    """Where a value differs from the one before it; the first row does."""
    return (rows[name] != rows[name].shift()).fill_null(True).to_numpy()


def _places(begins: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Of each row its place in its block, from 0, and how many rows are left in it, itself counted."""
    starts = np.flatnonzero(begins).astype(np.int32)
    lengths = np.diff(starts, append=np.int32(len(begins)))
    place = np.arange(len(begins), dtype=np.int32) - np.repeat(starts, lengths)
    return place, np.repeat(lengths, lengths) - place


def _code(part: str) -> np.int8:
    return np.int8(_ORDER[part])


def _named(codes: NDArray[np.int8]) -> pl.Series:
    """Parts by name; one of no name is null."""
    named = pl.Series("part", [*_ORDER, None], dtype=pl.String)
    return named.gather(np.where(codes < 0, len(_ORDER), codes))


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
    rows, name = dataset.interactions, f"data set '{dataset.name}'"
    same_user = pl.Series(~_changes(rows, "user_id"))
    order = rows["part"].replace_strict(_ORDER, default=None, return_dtype=pl.Int8)
    _refuse(rows, order.is_null(), f"{name}: unknown part")
    _refuse(rows, same_user & (order < order.shift()), f"{name}: a later part comes before an earlier one")
    back = rows["timestamp"] < rows["timestamp"].shift()
    _refuse(rows, same_user & back, f"{name}: goes back in time")
    held_out = order.is_in(
        [_ORDER["validation"], _ORDER["test"]]
    )  # of one part beside each other, as checked above
    _refuse(rows, same_user & held_out & (order == order.shift()), f"{name}: more than one target in a part")
    starts = rows.select("user_id").filter(~same_user)
    _refuse(starts, starts["user_id"].is_duplicated(), f"{name}: rows of one user are apart")
    outside = ~rows["item_index"].is_between(1, dataset.catalog.n_items)
    _refuse(rows, outside, f"{name}: item index outside the catalogue")
    cuts = dataset.protocol.cuts
    for parts, (low, high) in zip(_WINDOWS, pairwise((-inf, *cuts, inf)), strict=True) if cuts else ():
        elsewhere = (rows["timestamp"] < low) | (rows["timestamp"] >= high)
        _refuse(rows, rows["part"].is_in(parts) & elsewhere, f"{name}: on the wrong side of a cut")
    if not dataset.allow_repeats:
        _refuse(rows, _stands_again(rows["item_index"], same_user), f"{name}: an item stands twice")


def _stands_again(items: pl.Series, same_user: pl.Series) -> pl.Series:
    """Whether each row has an item that its user has on another row."""
    pairs = (~same_user).cum_sum().cast(pl.UInt64).to_numpy() << np.uint64(32) | items.cast(
        pl.UInt64
    ).to_numpy()
    ordered = np.sort(pairs)  # a table of what was seen would hold ten times as much
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    return pl.Series(np.isin(pairs, twice)) if len(twice) else pl.Series([False])


def _refuse(rows: pl.DataFrame, wrong: pl.Series, problem: str) -> None:
    if wrong.any():
        user = rows["user_id"].filter(wrong)[0]
        raise DataError(f"{problem} (user '{user}'); prepare the data again")
