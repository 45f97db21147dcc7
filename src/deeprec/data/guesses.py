"""What a table's values say about it: its encoding, columns without names, times, what cuts categories."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from deeprec.data.cells import DECIMAL_COMMA, NO_CATEGORY
from deeprec.data.columns import Role, looks_like_a_row
from deeprec.data.parsing.table import DataFile, TextOptions, is_written_in, read_sample
from deeprec.data.places import Place
from deeprec.data.times import TimeColumn, day_of, without_missing
from deeprec.errors import DataError

SAMPLE = 1_000  # rows that guesses rest on
_ENCODINGS = ("cp1252", "latin-1")  # what text that is not UTF-8 mostly is; the last one fits anything
_SEPARATORS = ("|", ";", " > ", ", ", ",", "/")


def guess_encoding(file: DataFile) -> str | None:
    """The encoding that has to be named; None for UTF-8, or what shows by itself."""
    try:
        read_sample(file, TextOptions(), 1)
        if is_written_in(file, "utf-8") or is_written_in(file, "utf-16"):
            return None
    except DataError:
        pass
    return next((name for name in _ENCODINGS if is_written_in(file, name)), None)


def guess_header(role: Role, file: DataFile, options: TextOptions) -> tuple[str, ...] | None:
    """Names for the columns of a file without any, by what they hold, for the user to check; None if it has them."""
    head, rows = read_sample(file, replace(options, header=()), SAMPLE)
    numbered = head.is_text and all(name.startswith("column_") for name in head.names)
    if not numbered or not rows.height or not looks_like_a_row([str(cell or "") for cell in rows.row(0)[1:]]):
        return None
    names = _named(role, rows.drop("line"))
    return tuple(names.get(name, name) for name in head.names)


def _named(role: Role, cells: pl.DataFrame) -> dict[str, str]:
    """Numbered column -> ours: the order in which files mostly have them."""
    if role == "users":
        return {cells.columns[0]: "user_id"}
    if role == "items":
        texts = [
            name for name in cells.columns[1:] if not _is_time(cells[name]) and not _is_rating(cells[name])
        ]
        return {cells.columns[0]: "item_id"} | dict.fromkeys(texts[:1], "title")
    times = [name for name in cells.columns if _is_time(cells[name])]
    others = [name for name in cells.columns if name not in times[:1]]
    ratings = [name for name in others[2:] if _is_rating(cells[name])]
    names = dict(zip(others[:2], ("user_id", "item_id"), strict=False))
    return names | dict.fromkeys(times[:1], "timestamp") | dict.fromkeys(ratings[:1], "rating")


def _is_time(cells: pl.Series) -> bool:
    """Whether values are dates, or numbers that are times since 1990: ids are smaller."""
    try:
        column, lines = TimeColumn(), pl.Series(range(len(cells)))
        moments = column.finish(column.add(cells, lines, Place("")), lines, Place(""))
    except DataError:
        return False
    earliest = moments.seconds.min()
    return isinstance(earliest, float) and earliest > 20 * 365 * 86_400


def _is_rating(cells: pl.Series) -> bool:
    numbers = cells.cast(pl.Float64, strict=False)
    return numbers.null_count() == cells.null_count() and numbers.n_unique() <= 20


def describe_times(cells: pl.Series, lines: pl.Series, place: str) -> str:
    column = TimeColumn()
    try:
        moments = column.finish(column.add(cells, lines, Place(place)), lines, Place(place))
    except DataError as error:
        return f"no times: {error}"
    first, last = moments.seconds.min(), moments.seconds.max()
    if not isinstance(first, float) or not isinstance(last, float):
        return "no times"
    return f"{moments.kind}: {day_of(first)} to {day_of(last)}"


def describe_values(known: pl.Series) -> str:
    """What values are, in a few words."""
    if known.dtype.is_nested():
        return "lists"
    different = f"{known.n_unique():,} different"
    if len(known) >= SAMPLE:
        different += f" in the first {SAMPLE:,} rows"
    if known.dtype != pl.String:
        return f"{known.dtype}, {different}"
    plain = without_missing(known).str.replace(DECIMAL_COMMA, "$1.$2")
    numbers = plain.cast(pl.Float64, strict=False)
    if numbers.null_count():
        return f"text, {different}"
    zeros = ", leading zeros" if known.str.contains(r"^0\d").any() else ""
    low, high = _float(numbers.min()), _float(numbers.max())
    return f"numbers {low:g} to {high:g}, {different}{zeros}"


def _float(value: object) -> float:
    return value if isinstance(value, float) else 0.0


def guess_separator(cells: pl.Series) -> dict[str, str]:
    """What cuts categories, where it is not the usual sign: the first that stands in a good part of the cells."""
    if cells.dtype != pl.String:
        return {}
    known = cells.drop_nulls()
    plain = known.filter(~known.str.contains(r"^[\[({]") & ~known.str.to_lowercase().is_in(list(NO_CATEGORY)))
    for mark in _SEPARATORS:
        if len(plain) and plain.str.contains(mark, literal=True).mean() > 0.2:  # type: ignore[operator]
            return {} if mark == "|" else {"category_separator": mark}
    return {}
