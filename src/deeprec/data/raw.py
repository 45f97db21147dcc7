"""What every reader returns, and the checks that all of them share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from deeprec.data.files import SourceFile
from deeprec.data.places import Place
from deeprec.data.times import check_seconds, latest_seconds
from deeprec.errors import DataError

# How software writes that there is no value. The first may be names of users; among numbers they are none.
_NO_NUMBER = frozenset(
    {"nan", "NaN", "NAN", "NaT", "None", "none", "null", "NULL", "NA", "N/A", "n/a", "undefined"}
)
_NO_ID = frozenset({"", "<NA>", "#N/A", "\\N"})
_SLICE = 1_000_000
_YEAR = re.compile(r"\((\d{4})(?:[-–]\d{0,4})?\)(?:\s*\([A-Za-z]{1,3}\))?\s*$")


@dataclass(frozen=True)
class RawData:
    """A source as read: nothing filtered, sorted or indexed yet. What a reader of your own returns, too.

    `interactions`: `line` (int64), `user_id`, `item_id` (str or categorical), `timestamp`
    (float64, Unix seconds) and `rating` (float32), both null throughout where the source has
    none. `items`: `line`, `item_id`, `title` (str), `categories` (list of str), `year` (int32
    or null). `users`: `user_id` and one text column per attribute. `interactions_place` and
    `items_place` name the files in errors. `ordered`: the source declares that each user's
    rows are oldest first, so that a step back in time is an error in it. `left_out`: reason
    -> rows of the source that are not among `interactions`, so that every row is accounted
    for. `notes`: what was found out or taken for granted while reading, a sentence each.
    """

    name: str
    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    interactions_place: Place | str
    items_place: Place | str
    files: tuple[SourceFile, ...] = ()
    ordered: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def rows_read(self) -> int:
        """Rows of the interaction source, kept or left out."""
        return self.interactions.height + sum(self.left_out.values())


NO_USERS = pl.DataFrame(schema={"user_id": pl.String})


def place_at(place: Place | str, line: int) -> str:
    """File and line of a row."""
    return (place if isinstance(place, Place) else Place(place)).at(line)


def title_years(titles: pl.Series) -> pl.Series:
    """`title_year` of a column."""
    bracketed = titles.set(~titles.str.contains(r"\(\d{4}"), None)
    return bracketed.map_elements(title_year, return_dtype=pl.Int32)


def title_year(title: str) -> int | None:
    """Year in brackets at the end of a title.

    >>> title_year("Toy Story (1995)"), title_year("Land Before Time III (1995) (V)"), title_year("1984")
    (1995, 1995, None)
    """
    found = _YEAR.search(title)
    return _plausible(int(found.group(1))) if found else None


def date_year(text: str) -> int | None:
    """Year in a date such as `01-Jan-1995`, `1995-01-01`, `1995` or `1995.0`.

    >>> date_year("01-Jan-1995"), date_year("1995.0"), date_year("")
    (1995, 1995, None)
    """
    found = re.search(r"(?<!\d)(\d{4})(?!\d)", text)
    return _plausible(int(found.group(1))) if found else None


def _plausible(year: int) -> int | None:
    return year if 1000 <= year <= 2200 else None


def check_raw(raw: RawData) -> None:
    """Raise DataError, with file, line, value and remedy, for what no reader may let pass."""
    _check_items(raw)
    _check_ids(raw)
    _check_times(raw)
    _check_known_users(raw)


def _check_items(raw: RawData) -> None:
    place = raw.items_place
    if not raw.interactions.height:
        raise DataError(f"{raw.interactions_place}: no interactions; name a file with at least one row")
    if not raw.items.height:
        raise DataError(f"{place}: the catalogue is empty; name a file with at least one item")
    _refuse_no_ids(raw.items, "item_id", place, "give the item an id")
    again = raw.items.filter(pl.col("item_id").is_duplicated())
    if again.height:
        first, second = again.filter(pl.col("item_id") == again["item_id"][0]).head(2)["line"].to_list()
        raise DataError(
            f"{place_at(place, second)}: item id '{again['item_id'][0]}' is already on line {first}; keep one of them"
        )
    _refuse_nested_titles(raw)
    if not raw.items.filter(pl.col("title").fill_null("").str.strip_chars() != "").height:
        raise DataError(f"{place}: no item has a title; name the column that holds titles")


def _refuse_nested_titles(raw: RawData) -> None:
    """Raise DataError for a title that is a list of texts or an object; `[1408]` may be one."""
    for row in raw.items.filter(pl.col("title").str.contains(r"^\s*[\[{]")).iter_rows(named=True):
        value = _nested(row["title"])
        if isinstance(value, dict) or (value and not all(isinstance(part, int | float) for part in value)):
            where, shown = place_at(raw.items_place, row["line"]), row["title"][:60]
            raise DataError(f"{where}: title = {shown!r} is a list or an object; write plain text")


def _check_ids(raw: RawData) -> None:
    place = raw.interactions_place
    for column in ("user_id", "item_id"):
        _refuse_no_ids(raw.interactions, column, place, "fill it in")
    for column in ("timestamp", "rating"):
        wrong = raw.interactions.filter(pl.col(column).is_nan() | pl.col(column).is_infinite()).head(1)
        if wrong.height:
            raise DataError(
                f"{place_at(place, wrong['line'][0])}: {column} = {wrong[column][0]} of user '{wrong['user_id'][0]}' "
                "is not a finite number; correct or remove the line"
            )


def _refuse_no_ids(rows: pl.DataFrame, column: str, place: Place | str, remedy: str) -> None:
    """Raise DataError naming the first row whose id is missing, also where software wrote that as a word, or no id."""
    different = rows[column].unique()
    odd = [id_ for part in _slices(different) for id_ in part.filter(_may_be_no_id(part))]
    wrong = [id_ for id_ in odd if id_ is None or _is_no_id(id_)]
    words = [id_ for id_ in odd if id_ in _NO_NUMBER]
    if 0 < len(words) < len(different) and all(
        _are_numbers(part.filter(~part.is_in(_NO_NUMBER))) for part in _slices(different)
    ):
        wrong += words
    if not wrong:
        return
    rows = rows.select("line", pl.col(column).cast(pl.String).str.strip_chars())
    found = rows.filter(pl.col(column).is_in(wrong, nulls_equal=True))
    text = found[column][0]
    what = f"empty {column}" if not text else f"{column} = {text[:60]!r} is no id"
    others = f" ({found.height:,} of {rows.height:,} rows have none)" if found.height > 1 else ""
    raise DataError(f"{place_at(place, found['line'][0])}: {what}{others}; {remedy} or remove the line")


def _are_numbers(ids: pl.Series) -> bool:
    return ids.cast(pl.Float64, strict=False).null_count() == 0


def _slices(ids: pl.Series) -> Iterator[pl.Series]:
    """The ids as text, without the space around them, a million at once."""
    for start in range(0, len(ids), _SLICE):
        yield ids[start : start + _SLICE].cast(pl.String).str.strip_chars()


def _may_be_no_id(ids: pl.Series) -> pl.Series:
    """Whether each text has to be looked at: all of them take minutes."""
    return ids.is_null() | ids.is_in(_NO_ID | _NO_NUMBER) | ids.str.contains(r"^[{\[]")


def _is_no_id(text: str) -> bool:
    if text in _NO_ID:
        return True
    if not text.startswith(("{", "[")):
        return False
    return _nested(text) is not None


def _nested(text: str) -> list[Any] | dict[str, Any] | None:
    """The list or the object that a text is, as those of JSON files come here; None for other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _check_times(raw: RawData) -> None:
    rows, place = raw.interactions, raw.interactions_place
    missing = rows.filter(pl.col("timestamp").is_null())
    if missing.height == rows.height:
        return  # no times at all: the order of the rows is the order in time
    if missing.height:
        raise DataError(
            f"{place_at(place, missing['line'][0])}: user '{missing['user_id'][0]}' has no timestamp, other lines have "
            "one; fill it in, or leave the column out of the whole file"
        )
    wrong = rows.filter(~pl.col("timestamp").is_between(0, latest_seconds())).head(1)
    if wrong.height:
        where = f"{place_at(place, wrong['line'][0])}: timestamp of user '{wrong['user_id'][0]}'"
        try:
            check_seconds(wrong["timestamp"][0])
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
    if raw.ordered:
        back = rows.filter(pl.col("timestamp").diff().over("user_id") < 0).head(1)
        if back.height:
            raise DataError(
                f"{place_at(place, back['line'][0])}: user '{back['user_id'][0]}' goes back in time; "
                "sort by user, then time"
            )


def _check_known_users(raw: RawData) -> None:
    if raw.users.filter(pl.col("user_id").fill_null("").str.strip_chars() == "").height:
        raise DataError(f"user file of '{raw.name}': a line has no user id; fill it in or remove the line")
    again = raw.users.filter(pl.col("user_id").is_duplicated()).head(1)
    if again.height:
        raise DataError(
            f"user file of '{raw.name}': user '{again['user_id'][0]}' appears twice; keep one line"
        )
