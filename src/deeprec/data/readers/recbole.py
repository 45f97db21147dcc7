"""RecBole atomic files: `.inter`, `.item`, `.user` with a typed header."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from deeprec.data.cells import categories
from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import load_interactions, load_items, load_users
from deeprec.data.parsing.table import DataFile, Head, TextOptions
from deeprec.data.plans import ItemPlan
from deeprec.data.raw import NO_USERS, RawData, title_year
from deeprec.errors import DataError
from deeprec.settings import DataConfig

_TYPES = ("token", "token_seq", "float", "float_seq")
_USUAL = {
    "user_id": ("user_id",),
    "item_id": ("item_id",),
    "timestamp": ("timestamp",),
    "rating": ("rating",),
    "title": ("title", "movie_title", "name", "item_name", "game_title"),
    "year": ("release_year", "year", "release_date", "movie_year", "date"),
    "categories": ("class", "categories", "category", "genre", "genres", "tags"),
}
_TEXT = TextOptions("\t", "literal")


@dataclass(frozen=True, slots=True)
class _Typed:
    """Columns of a header such as `user_id:token`, found by their names without the type."""

    columns: KnownColumns

    def find(self, name: str, head: Head, needed: bool) -> str | None:
        """See `ColumnFinder`; raises DataError for a column without a known type."""
        plain = {_plain(column, head.place): column for column in head.names}
        found = self.columns.find(name, replace(head, names=tuple(plain)), needed)
        return None if found is None else plain[found]


def read_recbole(path: Path, config: DataConfig) -> RawData:
    """Atomic files in a folder or zip (or one of them by its path).

    Columns are found by their usual names (`title`, `movie_title`; `release_year`,
    `year`; `class`, `categories`, `genre`), or as `config.columns` says. A year that the
    source keeps apart is put behind the title in brackets, as MovieLens writes it, and
    kept in `year`. `token_seq` categories are separated by commas where they hold one,
    else by spaces (RecBole's separator).
    """
    source, options = Source(path), replace(_TEXT, encodings=(config.encoding,) if config.encoding else ())
    columns = _Typed(KnownColumns(_USUAL, config.columns))
    listed = _Typed(KnownColumns(_USUAL, {**config.columns, **config.item_columns}))
    known = _Typed(KnownColumns(_USUAL, {**config.columns, **config.user_columns}))
    files = _files(source, ".inter")
    interactions = load_interactions(files, options, columns, config.time_format)
    plan = ItemPlan({}, (config.category_separator, ",", " "), lists=_lists, title_first=True)
    items = load_items(_files(source, ".item"), options, listed, plan)
    users = NO_USERS
    if source.names(".user"):
        typed = load_users(_files(source, ".user"), options, known).rows
        users = typed.rename({name: name.partition(":")[0] for name in typed.columns})
    return RawData(
        name=f"recbole:{Path(files[0].place.rsplit(':', 1)[-1]).name.split('.')[0]}",
        interactions=interactions.rows,
        items=_dated(items.rows),
        users=users,
        interactions_place=interactions.place,
        items_place=items.place,
        files=source.files,
        notes=(*interactions.notes, *items.notes),
    )


def _files(source: Source, suffix: str) -> list[DataFile]:
    names = source.names(suffix)
    if not names:
        raise DataError(f"{source.path}: has no '{suffix}' file; name the folder with the atomic files")
    if len(names) > 1:
        raise DataError(
            f"{source.path}: several files end in '{suffix}' ({', '.join(names)}); keep one, or name one by its path"
        )
    return source.table(names[0])


def _plain(column: str, place: str) -> str:
    name, colon, kind = column.partition(":")
    if not colon or kind not in _TYPES:
        raise DataError(
            f"{place} line 1: column '{column}' has no type; write it as 'name:type' with one of {', '.join(_TYPES)}"
        )
    return name


def _lists(values: pl.Series, separators: Sequence[str], place: str) -> pl.Series:
    names = pl.element().str.strip_chars("[]'\"").str.strip_chars()
    return categories(values, separators, place).list.eval(names)


def _dated(items: pl.DataFrame) -> pl.DataFrame:
    """Items with the year behind the title, where the source keeps it apart."""
    written = pl.col("title").map_elements(title_year, return_dtype=pl.Int32)
    apart = written.is_null() & (pl.col("title").str.strip_chars() != "") & pl.col("year").is_not_null()
    dated = pl.when(apart).then(pl.format("{} ({})", "title", "year")).otherwise("title")
    return items.with_columns(dated.alias("title"))
