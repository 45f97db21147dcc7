"""Which of the rows that were read are used: known items, each event once, users and items with enough of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deeprec.data.raw import RawData, place_at
from deeprec.errors import DataError
from deeprec.settings import DataConfig

# What ids of two files may differ by though they mean the same, and how to say it.
_ALIKE: dict[str, Callable[[pl.Series], pl.Series]] = {
    "they differ by leading zeros": lambda ids: ids.str.strip_chars_start("0"),
    "they differ by a '.0' at the end": lambda ids: ids.str.replace(r"\.0+$", ""),
    "they differ by upper and lower case": lambda ids: ids.str.to_lowercase(),
}

_COLUMNS = ("user_id", "item_id", "timestamp", "rating")
_BLOCK = 1_000_000  # rows that are sorted at once


@dataclass(frozen=True, slots=True)
class Usable:
    """Rows grouped by user and oldest first, ids as categories, and how many were left out for each reason.

    `rows` is all that memory holds of them: whoever filters them lets go of these.
    """

    rows: pl.DataFrame
    unknown_items_dropped: int
    duplicates_dropped: int
    repeats_dropped: int


def known_columns(raw: RawData, config: DataConfig) -> dict[str, pl.Series]:
    """Columns of the rows whose item is listed, ids as categories: four bytes a row while they are sorted.

    Raises DataError where items are unknown and that is refused, or no id agrees.
    """
    _check_users(raw)
    rows = raw.interactions.with_columns(pl.col("user_id", "item_id").cast(pl.Categorical))
    known = _is_known(rows, raw, config)
    return {name: rows[name] if known is None else rows[name].filter(known) for name in _COLUMNS}


def usable_rows(columns: dict[str, pl.Series], read: int, config: DataConfig) -> Usable:
    """Rows of `known_columns` in order, each event once, and (unless repeats are allowed) each item once for a user.

    `read`: how many rows there were before. Empties `columns`, so that a large set is held once.
    """
    rows = _ordered(columns)
    unknown = read - rows.height
    events = _chosen(rows, _is_event if config.duplicates == "drop" else _is_row)
    # The first row of a pair is an event in any case.
    kept = events if config.allow_repeats else _chosen(rows, lambda part: _pairs(part).is_first_distinct())
    duplicates, repeats = rows.height - int(events.sum()), int(events.sum()) - int(kept.sum())
    return Usable(rows if kept.all() else rows.filter(kept), unknown, duplicates, repeats)


def _chosen(rows: pl.DataFrame, choose: Callable[[pl.DataFrame], pl.Series]) -> pl.Series:
    """What `choose` says of each row, told of the rows of some users at once."""
    users = _codes(rows["user_id"])
    blocks = _user_blocks(len(users), lambda row: users[row] == users[row - 1])
    return pl.concat([pl.Series([], dtype=pl.Boolean), *(choose(rows[block]) for block in blocks)])


def _check_users(raw: RawData) -> None:
    """Raise DataError when the user file describes none of the users: its ids mean something else."""
    if not raw.users.height:
        return
    users = raw.interactions["user_id"].unique(maintain_order=True).cast(pl.String)
    if not raw.users["user_id"].is_in(users.implode()).any():
        hint = _difference(users, raw.users["user_id"])
        raise DataError(
            f"user file of '{raw.name}': none of its {raw.users.height:,} users is in {raw.interactions_place} "
            f"({hint}); "
            "write the ids alike in both files, or map the right column with data.user_columns"
        )


def core(rows: pl.DataFrame, min_user: int, min_item: int) -> pl.DataFrame:
    """Drop users and items with too few interactions until none is left to drop."""
    while True:
        before = rows.height
        for name, least in (("item_id", min_item), ("user_id", min_user)):
            if least > 1:
                codes = _codes(rows[name])
                rows = rows.filter(pl.Series((np.bincount(codes) >= least)[codes], dtype=pl.Boolean))
        if rows.height == before:
            return rows


def by_user(rows: pl.DataFrame) -> pl.DataFrame:
    """Users in order of first appearance, each row after those that came before it."""
    return rows[np.argsort(_appearance(rows["user_id"]), kind="stable").astype(np.uint32)]


def item_indices(rows: pl.DataFrame, item_ids: pl.Series) -> pl.Series:
    """Place of each row's item among `item_ids`, from 1 (int32)."""
    codes, listed = _codes(rows["item_id"]), _codes(item_ids.cast(pl.Categorical))
    places = np.zeros(max(int(codes.max(initial=0)), int(listed.max(initial=0))) + 1, np.int32)
    places[listed] = np.arange(1, len(item_ids) + 1, dtype=np.int32)
    return pl.Series("item_index", places[codes])


def used_items(item_ids: pl.Series, rows: pl.DataFrame) -> pl.Series:
    """Whether each of the items has a row."""
    listed, codes = _codes(item_ids.cast(pl.Categorical)), _codes(rows["item_id"])
    is_used = np.zeros(max(int(codes.max(initial=0)), int(listed.max(initial=0))) + 1, bool)
    is_used[codes] = True
    return pl.Series(is_used[listed])


def user_numbers(rows: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """Ids of the users of rows that are grouped by user, and each row's place among them (uint32), from 0."""
    users = rows["user_id"]
    begins = (users != users.shift()).fill_null(True)
    return users.filter(begins).cast(pl.String), begins.cum_sum() - 1


# Polars joins and sorts rows whole. These work on the codes of ids, four bytes each, and on one column at
# a time: what a machine's memory has to hold of a large set is then its rows once, and little more.


def _codes(ids: pl.Series) -> NDArray[np.uint32]:
    return ids.to_physical().to_numpy().astype(np.uint32, copy=False)


def _appearance(users: pl.Series) -> NDArray[np.uint32]:
    """For each row the number of its user's first row."""
    codes = _codes(users)
    first = np.zeros(int(codes.max(initial=0)) + 1, np.uint32)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1, dtype=np.uint32)  # the earliest is written last
    return first[codes]


def _ordered(columns: dict[str, pl.Series]) -> pl.DataFrame:
    """Users in order of first appearance, each oldest first; ties keep the source's order. Empties `columns`."""
    users = _appearance(columns["user_id"])
    order = np.argsort(users, kind="stable").astype(np.uint32)
    times = columns["timestamp"]
    if not times.null_count():  # of none or of all: `check_raw` refuses a part
        _order_in_time(order, users, times.to_numpy())
    del users, times
    return pl.DataFrame([columns.pop(name)[order] for name in _COLUMNS])


def _order_in_time(order: NDArray[np.uint32], users: NDArray[np.uint32], times: NDArray[np.float64]) -> None:
    """Sort rows that are grouped by user by time within each, in place, some users at once."""
    for rows in _user_blocks(len(order), lambda row: users[order[row]] == users[order[row - 1]]):
        block = order[rows]
        order[rows] = block[np.lexsort((times[block], users[block]))]


def _user_blocks(rows: int, goes_on: Callable[[int], bool]) -> Iterator[slice]:
    """About a million rows at a time; no user is parted. `goes_on`: whether a row has the user of the one before."""
    start = 0
    while start < rows:
        stop = min(start + _BLOCK, rows)
        while stop < rows and goes_on(stop):
            stop += 1
        yield slice(start, stop)
        start = stop


def _pairs(rows: pl.DataFrame) -> pl.Series:
    """User and item of each row as one number."""
    return pl.Series((_codes(rows["user_id"]).astype(np.uint64) << np.uint64(32)) | _codes(rows["item_id"]))


def _is_row(rows: pl.DataFrame) -> pl.Series:
    return pl.repeat(True, rows.height, eager=True)


def _is_event(rows: pl.DataFrame) -> pl.Series:
    """Whether each row is the first with its user, item and time."""
    kept = np.ones(rows.height, bool)
    if rows["timestamp"].null_count():  # without times nobody knows
        return pl.Series(kept)
    suspects = rows.with_row_index("_row").filter(_pairs(rows).is_duplicated())
    again = suspects.filter(~pl.struct("user_id", "item_id", "timestamp").is_first_distinct())["_row"]
    kept[again.to_numpy()] = False
    return pl.Series(kept)


def _is_known(rows: pl.DataFrame, raw: RawData, config: DataConfig) -> pl.Series | None:
    """Whether each row's item is listed; None if all are."""
    codes = _codes(rows["item_id"])
    listed = _codes(raw.items["item_id"].cast(pl.Categorical))
    is_listed = np.zeros(max(int(codes.max(initial=0)), int(listed.max(initial=0))) + 1, bool)
    is_listed[listed] = True
    known = is_listed[codes]
    if known.all():
        return None
    if not known.any():
        hint = _difference(rows["item_id"].unique(maintain_order=True).cast(pl.String), raw.items["item_id"])
        raise DataError(
            f"{raw.interactions_place}: none of its {rows.height:,} rows has an item of {raw.items_place} ({hint}); "
            "write the ids alike in both files, or map the right column with data.columns and data.item_columns"
        )
    if config.unknown_items == "refuse":
        first = rows[int(np.argmin(known))]
        unknown = rows["item_id"].filter(pl.Series(~known)).unique(maintain_order=True).cast(pl.String)
        alike = _alike(unknown, raw.items["item_id"])
        raise DataError(
            f"{place_at(raw.interactions_place, first['line'][0])}: item '{first['item_id'][0]}' is not in "
            f"{raw.items_place} ({int((~known).sum()):,} of {rows.height:,} rows have such items"
            f"{'; ' + alike if alike else ''}); add it there, or leave such rows out with data.unknown_items=drop"
        )
    return pl.Series(known)


def _difference(here: pl.Series, there: pl.Series) -> str:
    """One id of each side, two that mean the same if there are such."""
    return _alike(here, there) or f"'{here[0]}' here, '{there[0]}' there"


def _alike(here: pl.Series, there: pl.Series) -> str:
    """Two ids that seem to mean the same, and what they differ by; empty where none do."""
    for problem, plain in _ALIKE.items():
        pairs = pl.DataFrame({"here": here, "id": plain(here)}).join(
            pl.DataFrame({"there": there, "id": plain(there)}), on="id", maintain_order="left"
        )
        if pairs.height:
            return f"'{pairs['here'][0]}' here, '{pairs['there'][0]}' there: {problem}"
    return ""
