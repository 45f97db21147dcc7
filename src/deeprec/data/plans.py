"""What is kept of a table's rows: interactions, items, or users, under our names and in our types."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from deeprec.data.cells import categories, ids, numbers, texts
from deeprec.data.parsing.table import TableRows
from deeprec.data.places import Place
from deeprec.data.raw import date_year, title_years
from deeprec.data.times import TimeColumn, day_of

_A_YEAR = 366 * 86_400
_NO_TITLE = ["nan", "NaN", "<NA>"]  # as pandas writes a missing one; "None" and "Null" are songs


@dataclass(frozen=True, slots=True)
class Derived:
    """Columns that a file has not, and how rows with them are made of the columns that it `needs`; `line` stays."""

    needs: Sequence[str]
    make: Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True, slots=True)
class InteractionPlan:
    """Keeps who took what, when, and how it was rated. `names`: our column -> the file's.

    With `items` the items are in the same file: the first row of each tells what it is. With
    `derived` the names are those of the rows that it makes.
    """

    names: Mapping[str, str]
    times: TimeColumn
    items: ItemPlan | None = None
    derived: Derived | None = None
    found: list[pl.DataFrame] = field(default_factory=list)

    @property
    def columns(self) -> Sequence[str]:
        """The file's columns that are needed."""
        if self.derived:
            return self.derived.needs
        inside = self.items.columns if self.items else ()
        return tuple(dict.fromkeys((*self.names.values(), *inside)))

    def take(self, rows: pl.DataFrame, place: str) -> pl.DataFrame:
        """`line`, `user_id`, `item_id`, `timestamp` (as `TimeColumn.add` gives it), `rating`."""
        rows = self.derived.make(rows) if self.derived else rows
        lines = rows["line"]
        taken = [lines, *(self._ids(rows, name, place) for name in ("user_id", "item_id"))]
        if self.items:
            self.found.append(self.items.first_of_each(rows, taken[2], place))
        time, rating = (
            rows[self.names[name]] if name in self.names else None for name in ("timestamp", "rating")
        )
        moments = (
            pl.Series([None] * rows.height, dtype=pl.Float64)
            if time is None
            else (self.times.add(time, lines, Place(place)))
        )
        marks = (
            pl.Series([None] * rows.height, dtype=pl.Float32)
            if rating is None
            else (numbers(rating, lines, Place(place), "rating"))
        )
        return pl.DataFrame([*taken, moments.alias("timestamp"), marks.alias("rating")])

    def finish(self, table: TableRows[InteractionPlan], place: Place) -> tuple[pl.DataFrame, list[str]]:
        """The rows with times in seconds, and what is to be said of them."""
        if "timestamp" not in self.names:
            return table.rows, ["no column of times: the order of the rows is the order in time"]
        moments = self.times.finish(table.rows["timestamp"], table.rows["line"], place)
        latest = moments.seconds.max()
        if not isinstance(latest, float):
            empty = f"column '{self.names['timestamp']}' holds no times: the order of the rows is the order in time"
            return table.rows.with_columns(moments.seconds.alias("timestamp")), [empty]
        notes = [f"column '{self.names['timestamp']}': {moments.kind}"]
        if moments.kind == "seconds" and latest < _A_YEAR:
            notes.append(
                f"all times lie before {day_of(_A_YEAR)}: they are taken as an order, and dates will say nothing"
            )
        return table.rows.with_columns(moments.seconds.alias("timestamp")), notes

    def _ids(self, rows: pl.DataFrame, name: str, place: str) -> pl.Series:
        # Categorical: four bytes a row, where a text takes sixteen and more.
        return ids(rows[self.names[name]], place, name).cast(pl.Categorical).alias(name)


@dataclass(frozen=True, slots=True)
class ItemPlan:
    """Keeps ids, titles, categories and years. `names`: our column -> the file's.

    `separators`: what may cut categories in one cell; the first that occurs does. `lists`
    makes categories of cells, in place of `cells.categories`. The year is that of its column,
    else the one in brackets behind the title, or with `title_first` the other way round.
    `only`: ids (categories) of the items that are kept. `at_once`: categories are lists in every cell, so
    that no separator has to be found in all of them first.
    """

    names: Mapping[str, str]
    separators: Sequence[str] = ("|",)
    lists: Callable[[pl.Series, Sequence[str], str], pl.Series] = categories
    title_first: bool = False
    only: pl.Series | None = None
    at_once: bool = False

    @property
    def columns(self) -> Sequence[str]:
        """The file's columns that are needed."""
        return tuple(dict.fromkeys(self.names.values()))

    def take(self, rows: pl.DataFrame, place: str) -> pl.DataFrame:
        """`line`, `item_id`, `title`, `categories` (text or lists), `year` (text)."""
        item_ids = ids(rows[self.names["item_id"]], place, "item_id")
        if self.only is not None:
            wanted = item_ids.cast(pl.Categorical).to_physical().is_in(self.only.to_physical().implode())
            rows, item_ids = rows.filter(wanted), item_ids.filter(wanted)
        return self._described(rows, item_ids, place)

    def first_of_each(self, rows: pl.DataFrame, item_ids: pl.Series, place: str) -> pl.DataFrame:
        """What `take` gives, for the first row of each item alone."""
        first = rows.with_columns(item_ids.cast(pl.String).alias("_item"))
        first = first.unique(["_item"], keep="first", maintain_order=True)
        return self._described(first.drop("_item"), first["_item"], place)

    def finish(self, rows: pl.DataFrame, place: Place) -> pl.DataFrame:
        """Rows of `take` with lists of categories, and years as numbers."""
        titles = rows["title"].fill_null("").replace(_NO_TITLE, [""] * len(_NO_TITLE))
        lists = rows["categories"]
        if lists.dtype in (pl.String, pl.Null):
            lists = self.lists(lists.cast(pl.String), self.separators, str(place))
        elif lists.null_count():  # of a file in which the column has no value, hence no type
            lists = rows.select(pl.col("categories").fill_null(pl.lit([], lists.dtype))).to_series()
        written = title_years(titles)
        dated = rows["year"].cast(pl.String).map_elements(date_year, return_dtype=pl.Int32)
        year = pl.coalesce(written, dated) if self.title_first else pl.coalesce(dated, written)
        return rows.with_columns(titles.alias("title"), lists.alias("categories"), year.alias("year"))

    def _described(self, rows: pl.DataFrame, item_ids: pl.Series, place: str) -> pl.DataFrame:
        title = texts(rows[self.names["title"]], place, "title").alias("title")
        optional = [self._optional(rows, name, place) for name in ("categories", "year")]
        return pl.DataFrame([rows["line"], item_ids.alias("item_id"), title, *optional])

    def _optional(self, rows: pl.DataFrame, name: str, place: str) -> pl.Series:
        if name not in self.names:
            kind = pl.List(pl.String) if name == "categories" and self.at_once else pl.Null
            return pl.Series(name, [None] * rows.height, dtype=kind)
        column = rows[self.names[name]]
        if name == "categories" and (column.dtype.is_nested() or self.at_once):
            return self.lists(column, self.separators, place).alias(name)
        if column.dtype == pl.Null:
            return column.alias(name)
        return texts(column, place, name).alias(name)


@dataclass(frozen=True, slots=True)
class UserPlan:
    """Keeps a user's id and every further column that is text or a number, as text."""

    user: str
    columns: Sequence[str]

    def take(self, rows: pl.DataFrame, place: str) -> pl.DataFrame:
        """`line`, `user_id` and the attributes."""
        flat = [column for column in rows.drop("line", self.user) if _is_flat(column.dtype)]
        user = ids(rows[self.user], place, "user_id").alias("user_id")
        return pl.DataFrame([rows["line"], user, *(texts(column, place, column.name) for column in flat)])


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Keeps everything as it stands."""

    columns: Sequence[str]

    def take(self, rows: pl.DataFrame, place: str) -> pl.DataFrame:
        """The rows."""
        return rows


def first_of_each(items: pl.DataFrame) -> pl.DataFrame:
    """The first row of each item. Where none comes twice the frame itself: millions of titles are not copied."""
    first = items["item_id"].cast(pl.Categorical).to_physical().is_first_distinct()
    return items if first.all() else items.filter(first)


def _is_flat(dtype: pl.DataType) -> bool:
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration))
