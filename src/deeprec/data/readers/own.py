"""A reader of your own: `data.name = "package.module:function"`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from deeprec.config import DataConfig
from deeprec.data.raw import RawData
from deeprec.errors import ConfigError, DataError
from deeprec.references import load_function

# Columns of RawData; those that a reader must give come first.
_INTERACTIONS = {
    "user_id": pl.String,
    "item_id": pl.String,
    "line": pl.Int64,
    "timestamp": pl.Float64,
    "rating": pl.Float32,
}
_ITEMS = {
    "item_id": pl.String,
    "title": pl.String,
    "line": pl.Int64,
    "categories": pl.List(pl.String),
    "year": pl.Int32,
}
_REQUIRED = 2
_ATTRIBUTES = {"user_id": pl.String}


def read_own(reference: str, path: Path, config: DataConfig) -> RawData:
    """What the function `reader(path, config)` gives, with the columns that `RawData` promises.

    `line` may be left out (rows are counted from 1), and so may be what the source hasn't. Values of another type
    are taken where they fit. Raises ConfigError for what is no reader, DataError for tables that lack something.
    """
    place = f"data.name = '{reference}'"
    raw = load_reader(reference)(path, config)
    if not isinstance(raw, RawData):
        raise ConfigError(f"{place}: gave a {type(raw).__name__}; give a deeprec.data.raw.RawData")
    others = {name: pl.String for name in getattr(raw.users, "columns", ()) if name not in _ATTRIBUTES}
    return replace(
        raw,
        interactions=_complete(raw.interactions, _INTERACTIONS, _REQUIRED, f"{place}: its interactions"),
        items=_complete(raw.items, _ITEMS, _REQUIRED, f"{place}: its items"),
        users=_complete(raw.users, {**_ATTRIBUTES, **others}, len(_ATTRIBUTES), f"{place}: its users"),
    )


def load_reader(reference: str) -> Callable[..., Any]:
    """The function itself; raises ConfigError for one that can't be loaded, or called as a reader."""
    return load_function(reference, "data.name", ("path", "config"))


def _complete(frame: Any, columns: Mapping[str, Any], required: int, place: str) -> pl.DataFrame:
    if not isinstance(frame, pl.DataFrame):
        raise ConfigError(f"{place} are a {type(frame).__name__}; give a polars.DataFrame")
    for name in list(columns)[:required]:
        if name not in frame.columns:
            raise DataError(f"{place} lack the column '{name}'; they have {', '.join(frame.columns)}")
    if "line" in columns and "line" not in frame.columns:
        frame = frame.with_row_index("line", offset=1)
    absent = [pl.lit(None, kind).alias(name) for name, kind in columns.items() if name not in frame.columns]
    whole = frame.with_columns(absent)
    return pl.DataFrame([_cast(whole[name], kind, place) for name, kind in columns.items()])


def _cast(values: pl.Series, kind: Any, place: str) -> pl.Series:
    if values.dtype.is_temporal() and kind != pl.String:  # polars would count what its unit happens to be
        raise DataError(
            f"{place}: '{values.name}' is a {values.dtype}; give numbers, such as seconds since 1970 (`dt.epoch('s')`)"
        )
    try:
        return values.cast(kind)
    except PolarsError as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{place}: '{values.name}' is no {kind} ({reason})") from None
