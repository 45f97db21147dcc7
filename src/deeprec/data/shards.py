"""A prepared data set some users at a time: memory holds one shard, however many users there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from deeprec.data.dataset import Dataset
from deeprec.data.format import INTERACTIONS, USERS
from deeprec.errors import DataError

_SLICE = 1_000_000  # rows


def shard_bounds(folder: Path, size: int) -> tuple[list[int], int]:
    """Rows of `interactions.parquet` where each shard of `size` users begins, and its end; and the number of users.

    Raises DataError for a file that can't be read.
    """
    bounds: list[int] = []
    row, users, last = 0, 0, None
    for ids in _slices(folder / INTERACTIONS):
        begins = (ids != ids.shift(1)).fill_null(True).arg_true().to_numpy()
        if ids[0] == last:
            begins = begins[1:]
        bounds += (row + begins[-users % size :: size]).tolist()
        row, users, last = row + len(ids), users + len(begins), ids[-1]
    return [*bounds, row], users


def _slices(file: Path) -> Iterator[pl.Series]:
    """The column `user_id` in slices."""
    try:
        rows = pl.scan_parquet(file).select("user_id")
        start = 0
        while len(users := rows.slice(start, _SLICE).collect()["user_id"]):
            yield users
            start += len(users)
    except (PolarsError, OSError) as error:
        raise DataError(f"{file}: is no readable Parquet file ({error})") from None


def read_shard(outline: Dataset, folder: Path, start: int, stop: int) -> Dataset:
    """The data set with the users of these rows alone, in the order of the file."""
    rows = pl.scan_parquet(folder / INTERACTIONS).slice(start, stop - start).collect()
    ids = rows.select("user_id").unique()
    users = pl.scan_parquet(folder / USERS).join(ids.lazy(), on="user_id", how="semi").collect()
    return replace(outline, interactions=rows, users=users)
