"""Reader for MovieLens 100K and 1M, as the zip archive or the unpacked folder.

The originals are latin-1. A copy that was saved as UTF-8 is recognised: accented latin-1
text is practically never valid UTF-8.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.files import Source, decode, numbers, split_rows
from deeprec.data.raw import RawData, date_year, title_year
from deeprec.errors import DataError

_INTERACTIONS = ("user_id", "item_id", "rating", "timestamp")
_NO_GENRE = {"unknown", "(no genres listed)"}
_ITEM_100K = ("item_id", "title", "date", "video_date", "link")
_AGES_1M = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56+",
}
_OCCUPATIONS_1M = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip
_USER_COLUMNS = ("user_id", "age", "sex", "occupation")


def read_ml_100k(path: Path, config: DataConfig) -> RawData:
    """`u.data`, `u.item`, `u.genre` and `u.user`; rows of `u.data` are in random order."""
    source = Source(path)
    interactions = _interactions(source, "u.data", "\t")
    genres = _genres_100k(source)
    name, content = source.read("u.item")
    place = source.place(name)
    rows = split_rows(_text(content, place), "|", [*_ITEM_100K, *genres], place)
    _check_flags(rows, genres, place)
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in genres if genre not in _NO_GENRE]
    items = rows.select(
        "line",
        "item_id",
        "title",
        pl.concat_list(flags).list.drop_nulls().alias("categories"),
        _year(pl.col("title"), pl.col("date")),
    )
    users = _rows(source, "u.user", "|", ("user_id", "age", "sex", "occupation", "postcode"))
    return _raw("ml-100k", source, interactions, "u.data", items, place, users.select(_USER_COLUMNS))


def read_ml_1m(path: Path, config: DataConfig) -> RawData:
    """`ratings.dat`, `movies.dat` and `users.dat`, separated by `::`."""
    source = Source(path)
    interactions = _interactions(source, "ratings.dat", "::")
    rows = _rows(source, "movies.dat", "::", ("item_id", "title", "genres"))
    items = rows.select(
        "line",
        "item_id",
        "title",
        pl.col("genres")
        .str.split("|")
        .list.eval(pl.element().filter(~pl.element().is_in(sorted(_NO_GENRE))))
        .alias("categories"),
        _year(pl.col("title"), pl.lit("")),
    )
    users = _rows(source, "users.dat", "::", ("user_id", "sex", "age", "occupation", "postcode"))
    occupations = {str(code): name for code, name in enumerate(_OCCUPATIONS_1M)}
    users = users.with_columns(pl.col("age").replace(_AGES_1M), pl.col("occupation").replace(occupations))
    place = source.place("movies.dat")
    return _raw("ml-1m", source, interactions, "ratings.dat", items, place, users.select(_USER_COLUMNS))


def _raw(
    name: str,
    source: Source,
    interactions: pl.DataFrame,
    file: str,
    items: pl.DataFrame,
    items_place: str,
    users: pl.DataFrame,
) -> RawData:
    return RawData(name, interactions, items, users, source.place(file), items_place, tuple(source.files))


def _rows(source: Source, file: str, separator: str, columns: tuple[str, ...]) -> pl.DataFrame:
    name, content = source.read(file)
    return split_rows(_text(content, source.place(name)), separator, columns, source.place(name))


def _text(content: bytes, place: str) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return decode(content, "latin-1", place)
    return decode(content, "utf-8", place)


def _interactions(source: Source, file: str, separator: str) -> pl.DataFrame:
    rows = _rows(source, file, separator, _INTERACTIONS)
    rows = numbers(rows, "timestamp", source.place(file), pl.Float64)
    return numbers(rows, "rating", source.place(file), pl.Float32)


def _genres_100k(source: Source) -> list[str]:
    rows = _rows(source, "u.genre", "|", ("genre", "number"))
    return [str(genre) for genre in rows["genre"].to_list()]


def _check_flags(rows: pl.DataFrame, genres: list[str], place: str) -> None:
    for genre in genres:
        wrong = rows.filter(~pl.col(genre).is_in(["0", "1"])).head(1)
        if wrong.height:
            raise DataError(
                f"{place} line {wrong['line'][0]}: genre flag '{genre}' is {wrong[genre][0]!r}, expected 0 or 1"
            )


def _year(title: pl.Expr, date: pl.Expr) -> pl.Expr:
    from_title = title.map_elements(title_year, return_dtype=pl.Int32)
    from_date = date.map_elements(date_year, return_dtype=pl.Int32)
    return pl.coalesce(from_title, from_date).alias("year")
