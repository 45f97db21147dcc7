"""Reader for RecBole atomic files: `.inter`, `.item`, `.user` with a typed header."""

from __future__ import annotations

import difflib
from pathlib import Path

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.files import Source, decode, numbers, split_table
from deeprec.data.raw import RawData, date_year, title_year
from deeprec.errors import DataError

_TYPES = ("token", "token_seq", "float", "float_seq")
_TITLES = ("title", "movie_title", "name", "item_name", "game_title")
_YEARS = ("release_year", "year", "release_date", "movie_year", "date")
_CATEGORIES = ("class", "categories", "category", "genre", "genres", "tags")
_NO_CATEGORY = "unknown"


def read_recbole(path: Path, config: DataConfig) -> RawData:
    """Atomic files in a folder or zip (or one of them by its path).

    Columns are found by their usual names (`title`, `movie_title`; `release_year`,
    `year`; `class`, `categories`, `genre`), or as `config.columns` says. A year that the
    source keeps apart is put behind the title in brackets, as MovieLens writes it, and
    kept in `year`. `token_seq` categories are separated by commas where they hold one,
    else by spaces (RecBole's separator).
    """
    source = Source(path)
    columns = config.columns
    rows, _, place = _atomic(source, ".inter")
    user, item = columns.get("user_id", "user_id"), columns.get("item_id", "item_id")
    time, rating = columns.get("timestamp", "timestamp"), columns.get("rating", "rating")
    _require(rows, [user, item, *(columns[key] for key in ("timestamp", "rating") if key in columns)], place)
    for name, dtype in ((time, pl.Float64), (rating, pl.Float32)):
        rows = (
            numbers(rows, name, place, dtype)
            if name in rows.columns
            else rows.with_columns(pl.lit(None, dtype=dtype).alias(name))
        )
    interactions = rows.select(
        "line",
        pl.col(user).alias("user_id"),
        pl.col(item).alias("item_id"),
        pl.col(time).alias("timestamp"),
        pl.col(rating).alias("rating"),
    )
    items, items_place = _items(source, config)
    users = _users(source, user)
    name = f"recbole:{Path(place.rsplit(':', 1)[-1]).stem}"
    return RawData(name, interactions, items, users, place, items_place, tuple(source.files))


def _items(source: Source, config: DataConfig) -> tuple[pl.DataFrame, str]:
    rows, types, place = _atomic(source, ".item")
    columns = config.columns
    item = columns.get("item_id", "item_id")
    title = _pick(rows, columns.get("title"), _TITLES, place)
    if title is None:
        found = ", ".join(types)
        raise DataError(
            f"{place} line 1: no title column (found: {found}); name it with data.columns = {{title = ...}}"
        )
    _require(rows, [item], place)
    year = _pick(rows, columns.get("year"), _YEARS, place)
    category = _pick(rows, columns.get("categories"), _CATEGORIES, place)
    years = (pl.col(year) if year else pl.lit("")).map_elements(date_year, return_dtype=pl.Int32)
    kept = pl.col(title).map_elements(title_year, return_dtype=pl.Int32)
    lists = _separated(rows, category, config) if category else pl.lit([], dtype=pl.List(pl.String))
    table = rows.select(
        "line",
        pl.col(item).alias("item_id"),
        pl.col(title).alias("title"),
        lists.alias("categories"),
        pl.coalesce(kept, years).alias("year"),
        (kept.is_null() & (pl.col(title).str.strip_chars() != "")).alias("apart"),
    )
    dated = pl.format("{} ({})", "title", "year")
    titles = pl.when(pl.col("apart") & pl.col("year").is_not_null()).then(dated).otherwise("title")
    return table.with_columns(titles.alias("title")).drop("apart"), place


def _separated(rows: pl.DataFrame, category: str, config: DataConfig) -> pl.Expr:
    text = pl.col(category)
    for separator in (config.category_separator, ","):
        if rows[category].str.contains(separator, literal=True).any():
            break
    else:
        separator = " "
    names = text.str.split(separator).list.eval(pl.element().str.strip_chars().str.strip_chars("[]'\""))
    return names.list.eval(pl.element().filter(~pl.element().is_in(["", _NO_CATEGORY])))


def _users(source: Source, user: str) -> pl.DataFrame:
    if source.find(".user") is None:
        return pl.DataFrame(schema={"user_id": pl.String})
    rows, _, place = _atomic(source, ".user")
    _require(rows, [user], place)
    return rows.drop("line").rename({user: "user_id"})


def _atomic(source: Source, suffix: str) -> tuple[pl.DataFrame, dict[str, str], str]:
    """Rows with plain column names, the columns' types, and the file's place."""
    name = source.find(suffix)
    if name is None:
        raise DataError(f"{source.path}: has no '{suffix}' file; name the folder with the atomic files")
    name, content = source.read(name)
    place = source.place(name)
    rows = split_table(decode(content, "utf-8", place), "\t", place)
    types = {}
    for column in rows.columns[1:]:
        plain, colon, kind = column.partition(":")
        if not colon or kind not in _TYPES:
            raise DataError(
                f"{place} line 1: column '{column}' has no type; write it as 'name:type' with one of "
                f"{', '.join(_TYPES)}"
            )
        types[plain] = kind
    return rows.rename({column: column.partition(":")[0] for column in rows.columns[1:]}), types, place


def _pick(rows: pl.DataFrame, named: str | None, usual: tuple[str, ...], place: str) -> str | None:
    if named is not None:
        _require(rows, [named], place)
        return named
    return next((name for name in usual if name in rows.columns), None)


def _require(rows: pl.DataFrame, columns: list[str], place: str) -> None:
    known = [name for name in rows.columns if name != "line"]
    for column in columns:
        if column not in known:
            near = difflib.get_close_matches(column, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"found: {', '.join(known)}"
            raise DataError(f"{place} line 1: no column '{column}'; {hint}")
