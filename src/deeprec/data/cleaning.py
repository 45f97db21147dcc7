"""Which of the rows that were read are used: known items, each event once, users and items with enough of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from deeprec.data.raw import RawData, place_at
from deeprec.errors import DataError
from deeprec.settings import DataConfig

# What ids of two files may differ by though they mean the same, and how to say it.
_ALIKE: dict[str, Callable[[pl.Series], pl.Series]] = {
    "they differ by leading zeros": lambda ids: ids.str.strip_chars_start("0"),
    "they differ by a '.0' at the end": lambda ids: ids.str.replace(r"\.0+$", ""),
    "they differ by upper and lower case": lambda ids: ids.str.to_lowercase(),
}


@dataclass(frozen=True, slots=True)
class Usable:
    """Rows grouped by user and oldest first, and how many were left out for each reason."""

    rows: pl.DataFrame
    unknown_items_dropped: int
    duplicates_dropped: int
    repeats_dropped: int


def usable_rows(raw: RawData, config: DataConfig) -> Usable:
    """Rows of known items, each event once, and (unless repeats are allowed) each item once for a user.

    Raises DataError where items are unknown and that is refused, or no id agrees.
    """
    check_users(raw)
    rows, unknown = _known_items(raw, config)
    rows = _ordered(rows.select("user_id", "item_id", "timestamp", "rating"))
    read = rows.height
    if config.duplicates == "drop" and not rows["timestamp"].null_count():  # without times nobody knows
        rows = rows.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
    events = rows.height
    if not config.allow_repeats:
        rows = rows.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    return Usable(rows, unknown, read - events, events - rows.height)


def check_users(raw: RawData) -> None:
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
        rows = rows.filter(pl.len().over("item_id") >= min_item)
        rows = rows.filter(pl.len().over("user_id") >= min_user)
        if rows.height == before:
            return rows


def by_user(rows: pl.DataFrame) -> pl.DataFrame:
    """Users in order of first appearance, each row after those that came before it."""
    first = pl.col("_row").min().over("user_id").alias("_first")
    return rows.with_row_index("_row").with_columns(first).sort("_first", "_row").drop("_first", "_row")


def _ordered(rows: pl.DataFrame) -> pl.DataFrame:
    """Users in order of first appearance, each oldest first; ties keep the source's order."""
    first = pl.col("_row").min().over("user_id").alias("_first")
    rows = rows.with_row_index("_row").with_columns(first).drop("_row")
    return rows.sort(["_first", "timestamp"], maintain_order=True).drop("_first")


def _known_items(raw: RawData, config: DataConfig) -> tuple[pl.DataFrame, int]:
    ids = pl.col("user_id", "item_id").cast(
        pl.Categorical
    )  # four bytes a row while they are sorted and joined
    rows = raw.interactions.with_columns(ids)
    listed = raw.items.select(pl.col("item_id").cast(pl.Categorical))
    known = rows.join(listed, on="item_id", how="semi", maintain_order="left")
    unknown = rows.height - known.height
    if not unknown:
        return rows, 0
    if not known.height:
        hint = _difference(rows["item_id"].unique(maintain_order=True).cast(pl.String), raw.items["item_id"])
        raise DataError(
            f"{raw.interactions_place}: none of its {rows.height:,} rows has an item of {raw.items_place} ({hint}); "
            "write the ids alike in both files, or map the right column with data.columns and data.item_columns"
        )
    if config.unknown_items == "refuse":
        first = rows.join(listed, on="item_id", how="anti", maintain_order="left").head(1)
        raise DataError(
            f"{place_at(raw.interactions_place, first['line'][0])}: item '{first['item_id'][0]}' is not in "
            f"{raw.items_place} ({unknown:,} of {rows.height:,} rows have such items); add it there, or leave such "
            "rows out with data.unknown_items=drop"
        )
    return known, unknown


def _difference(here: pl.Series, there: pl.Series) -> str:
    """One id of each side, two that mean the same if there are such."""
    for problem, plain in _ALIKE.items():
        pairs = pl.DataFrame({"here": here, "id": plain(here)}).join(
            pl.DataFrame({"there": there, "id": plain(there)}), on="id", maintain_order="left"
        )
        if pairs.height:
            return f"'{pairs['here'][0]}' here, '{pairs['there'][0]}' there: {problem}"
    return f"'{here[0]}' here, '{there[0]}' there"
