"""Reader for the user's own CSV, TSV or Parquet files, with a column mapping."""

from __future__ import annotations

import csv
import difflib
import io
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from deeprec.config import DataConfig
from deeprec.data.files import SourceFile, decode, hash_file, numbers, read_file
from deeprec.data.raw import RawData, date_year, title_year
from deeprec.errors import DataError

_OURS = ("user_id", "item_id", "timestamp", "rating", "title", "categories", "year")
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True)
class _Table:
    rows: pl.DataFrame  # with `line`
    place: str
    file: SourceFile


def read_table(path: Path, config: DataConfig) -> RawData:
    """Interactions at `path`, items at `config.items`, attributes at `config.users`.

    Interactions need `user_id` and `item_id`; `timestamp` (seconds, or an ISO date) and
    `rating` are optional. Items need `item_id` and `title`; `categories` and `year` are
    optional. Without an item file the interactions must hold the item columns
    themselves. `config.columns` maps our names to the file's. The kind of file follows
    its suffix: .csv, .tsv, .txt (tabs), .parquet, each text form also as .gz.
    """
    _check_mapping(config.columns)
    interactions = _read(path)
    listed = _read(Path(config.items).expanduser()) if config.items else None
    items = _items(listed, config) if listed else _items_inside(interactions, config)
    users = _read(Path(config.users).expanduser()) if config.users else None
    tables = [table for table in (interactions, listed, users) if table is not None]
    return RawData(
        name=f"table:{path.name.split('.')[0]}",
        interactions=_interactions(interactions, config),
        items=items,
        users=_users(users, config) if users else pl.DataFrame(schema={"user_id": pl.String}),
        interactions_place=interactions.place,
        items_place=(listed or interactions).place,
        files=tuple(table.file for table in tables),
    )


def _check_mapping(columns: dict[str, str]) -> None:
    for name in columns:
        if name not in _OURS:
            near = difflib.get_close_matches(name, _OURS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(_OURS)}"
            raise DataError(f"data.columns: unknown column '{name}'; {hint}")


def _read(path: Path) -> _Table:
    if not path.is_file():
        raise DataError(f"{path}: is no file; name a CSV, TSV or Parquet file")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if packed else suffixes)[-1:]
    if kind == [".parquet"] and not packed:
        rows = _read_parquet(path)
    elif kind and kind[0] in _SEPARATORS:
        rows = _read_text(path, _SEPARATORS[kind[0]], packed)
    else:
        raise DataError(f"{path}: unknown kind of file '{path.suffix}'; use .csv, .tsv, .txt or .parquet")
    return _Table(rows, str(path), hash_file(path))


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        rows = pl.read_parquet(path)
    except (PolarsError, OSError) as error:
        raise DataError(f"{path}: is no readable Parquet file ({error}); write it again") from None
    return _with_lines(rows, 1)


def _read_text(path: Path, separator: str, packed: bool) -> pl.DataFrame:
    import gzip
    import zlib

    content = read_file(path)
    if packed:
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: is a damaged gzip file ({error}); fetch it again") from None
    text = decode(content, "utf-8", str(path))
    if not text.strip():
        raise DataError(f"{path}: is empty; expected a header line and rows")
    names = next(csv.reader([text.split("\n", 1)[0]], delimiter=separator))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path} line 1: column '{twice}' appears twice; rename one of them")
    try:
        rows = pl.read_csv(io.StringIO(text), separator=separator, infer_schema=False)
    except PolarsError as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{path}: is not a table separated by {separator!r} ({reason}); check quotes and fields"
        ) from None
    return _with_lines(rows, 2)


def _with_lines(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    # Exact as long as no quoted cell spans lines; `line` is ours even if the file has such a column.
    if "line" in rows.columns:
        rows = rows.rename({"line": "line_"})
    return rows.with_row_index("line", offset=first).with_columns(pl.col("line").cast(pl.Int64))


def _column(table: _Table, config: DataConfig, name: str, needed: bool) -> pl.Expr | None:
    theirs = config.columns.get(name, name)
    known = [column for column in table.rows.columns if column != "line"]
    if theirs in known:
        return pl.col(theirs)
    if not needed and name not in config.columns:
        return None
    near = difflib.get_close_matches(theirs, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the file has: {', '.join(known)}"
    raise DataError(
        f"{table.place}: no column '{theirs}'; {hint} Map it with data.columns = {{{name} = \"...\"}}"
    )


def _interactions(table: _Table, config: DataConfig) -> pl.DataFrame:
    time, rating = _column(table, config, "timestamp", False), _column(table, config, "rating", False)
    rows = table.rows.select(
        "line",
        _text(table, config, "user_id"),
        _text(table, config, "item_id"),
        (pl.lit(None, dtype=pl.Float64) if time is None else time).alias("timestamp"),
        (pl.lit(None, dtype=pl.Float32) if rating is None else rating).alias("rating"),
    )
    return _number(_seconds(rows, table.place), "rating", table.place, pl.Float32)


def _text(table: _Table, config: DataConfig, name: str) -> pl.Expr:
    """A needed column as text under our name; raises DataError when it holds lists or the like."""
    column = _column(table, config, name, True)
    assert column is not None
    dtype = table.rows.select(column).dtypes[0]
    if dtype.is_nested() or dtype == pl.Binary:
        raise DataError(f"{table.place}: column {name} is {dtype}, expected text or numbers")
    return column.cast(pl.String).alias(name)


def _number(rows: pl.DataFrame, column: str, place: str, dtype: type[pl.DataType]) -> pl.DataFrame:
    if rows.schema[column] == pl.String:
        return numbers(rows, column, place, dtype)
    try:
        return rows.with_columns(pl.col(column).cast(dtype))
    except PolarsError:
        raise DataError(f"{place}: column {column} is {rows.schema[column]}, expected numbers") from None


def _seconds(rows: pl.DataFrame, place: str) -> pl.DataFrame:
    """Times as seconds since 1970: numbers stay, dates are converted (as UTC where no zone is given)."""
    if rows.schema["timestamp"] == pl.String:
        first = rows.filter(pl.col("timestamp").str.strip_chars() != "")["timestamp"].head(1).to_list()
        if not first or not _is_date(first[0].strip()):
            try:
                return numbers(rows, "timestamp", place, pl.Float64)
            except DataError as error:
                raise DataError(f"{error} (times are seconds, or ISO dates such as 2024-05-31)") from None
        parsed = rows.with_columns(_parse_dates(pl.col("timestamp")).alias("_time"))
        wrong = parsed.filter(
            pl.col("_time").is_null() & (pl.col("timestamp").fill_null("").str.strip_chars() != "")
        ).head(1)
        if wrong.height:
            raise DataError(
                f"{place} line {wrong['line'][0]}: timestamp = {wrong['timestamp'][0]!r} is no ISO date such as "
                "2024-05-31 or 2024-05-31T10:00:00; correct the line"
            )
        rows = parsed.drop("timestamp").rename({"_time": "timestamp"})
    if rows.schema["timestamp"].is_temporal():
        micros = pl.col("timestamp").cast(pl.Datetime("us")).dt.epoch("us")
        rows = rows.with_columns(micros.cast(pl.Float64) / 1e6)
    return _number(rows, "timestamp", place, pl.Float64).select(
        "line", "user_id", "item_id", "timestamp", "rating"
    )


def _is_date(text: str) -> bool:
    return len(text) >= 8 and text[:4].isdigit() and text[4] == "-"


def _parse_dates(text: pl.Expr) -> pl.Expr:
    """ISO dates as UTC without a zone; null where the text is none."""
    plain = text.str.strip_chars().str.replace("T", " ", literal=True).str.replace("Z$", "")
    local = [
        plain.str.strptime(pl.Datetime("us"), form, strict=False)
        for form in ("%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S%.f")
    ]
    zoned = [
        plain.str.strptime(pl.Datetime("us", "UTC"), form, strict=False).dt.replace_time_zone(None)
        for form in ("%Y-%m-%d %H:%M:%S%#z", "%Y-%m-%d %H:%M:%S%.f%#z")
    ]
    return pl.coalesce(*local, *zoned)


def _items(table: _Table, config: DataConfig) -> pl.DataFrame:
    category, year = _column(table, config, "categories", False), _column(table, config, "year", False)
    titles = _text(table, config, "title").fill_null("")
    from_title = titles.map_elements(title_year, return_dtype=pl.Int32)
    years = pl.lit("") if year is None else year.cast(pl.String).fill_null("")
    return table.rows.select(
        "line",
        _text(table, config, "item_id"),
        titles,
        _category_lists(table, category, config.category_separator).alias("categories"),
        pl.coalesce(years.map_elements(date_year, return_dtype=pl.Int32), from_title).alias("year"),
    )


def _category_lists(table: _Table, category: pl.Expr | None, separator: str) -> pl.Expr:
    if category is None:
        return pl.lit([], dtype=pl.List(pl.String))
    if isinstance(table.rows.select(category).dtypes[0], pl.List):
        return category.cast(pl.List(pl.String))
    return category.cast(pl.String).fill_null("").str.split(separator)


def _items_inside(table: _Table, config: DataConfig) -> pl.DataFrame:
    """Items from the interaction file itself: the first row of each item tells what it is."""
    name, rows = config.columns.get("item_id", "item_id"), table.rows
    if name in rows.columns:
        rows = rows.unique([name], keep="first", maintain_order=True)
    return _items(_Table(rows, table.place, table.file), config)


def _users(table: _Table, config: DataConfig) -> pl.DataFrame:
    user = _text(table, config, "user_id")
    name = config.columns.get("user_id", "user_id")
    flat = [
        column for column, dtype in table.rows.schema.items() if not dtype.is_nested() and dtype != pl.Binary
    ]
    others = [column for column in flat if column not in ("line", name)]
    return table.rows.select(user, *(pl.col(other).cast(pl.String) for other in others))
