"""Pieces of a table: their column `line`, the number of the line or row where a row begins; and all as one."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from polars.exceptions import PolarsError

from deeprec.errors import DataError


def free_names(names: Sequence[str]) -> list[str]:
    """The names, with a column that is called `line` itself under one that nobody has.

    >>> free_names(["order", "line"]), free_names(["line", "line_"])
    (['order', 'line_'], ['line__', 'line_'])
    """
    free = "line_"
    while free in names:
        free += "_"
    return [free if name == "line" else name for name in names]


def numbered(rows: pl.DataFrame, lines: Sequence[int] | range) -> pl.DataFrame:
    """The rows behind `line`."""
    return rows.insert_column(0, pl.Series("line", lines, dtype=pl.Int64))


def joined(frames: Sequence[pl.DataFrame], place: str) -> pl.DataFrame:
    """All rows; a column without any value in one frame has the type that it has in the others.

    Raises DataError naming a column whose type is another one in another frame.
    """
    if all(frame.schema == frames[0].schema for frame in frames):
        return pl.concat(frames)
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except PolarsError:
        kinds = {name: {str(frame.schema.get(name)) for frame in frames} for name in frames[0].columns}
        name = max(kinds, key=lambda name: len(kinds[name]))
        raise DataError(
            f"{place}: column {name} is {' and '.join(sorted(kinds[name]))} in files of one table; write it "
            "alike in all"
        ) from None
