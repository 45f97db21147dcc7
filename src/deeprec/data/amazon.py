"""Readers for Amazon data: prepared TSV pairs, and the raw reviews with their metadata."""

from __future__ import annotations

import html
from pathlib import Path

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.files import Source, decode, numbers, split_table
from deeprec.data.raw import RawData, title_year
from deeprec.errors import DataError

_NO_USERS = pl.DataFrame(schema={"user_id": pl.String})


def read_amazon_pair(path: Path, config: DataConfig) -> RawData:
    """A folder with `interactions.tsv.gz` (user, item, timestamp) and `items.tsv.gz` (item, title, categories).

    The format declares each user's rows oldest first, so a step back in time is an error.
    HTML entities in titles and categories are resolved; `|` separates categories.
    """
    source = Source(path)
    name, content = source.read("interactions.tsv.gz", "interactions.tsv")
    place = source.place(name)
    rows = split_table(decode(content, "utf-8", place), "\t", place)
    _require(rows, ("user", "item", "timestamp"), place)
    rows = numbers(rows, "timestamp", place, pl.Float64)
    interactions = rows.select(
        "line",
        pl.col("user").alias("user_id"),
        pl.col("item").alias("item_id"),
        "timestamp",
        pl.lit(None, dtype=pl.Float32).alias("rating"),
    )
    name, content = source.read("items.tsv.gz", "items.tsv")
    items_place = source.place(name)
    listed = split_table(decode(content, "utf-8", items_place), "\t", items_place)
    _require(listed, ("item", "title", "categories"), items_place)
    items = listed.select(
        "line",
        pl.col("item").alias("item_id"),
        unescaped(pl.col("title")).alias("title"),
        unescaped(pl.col("categories")).str.split("|").alias("categories"),
        unescaped(pl.col("title")).map_elements(title_year, return_dtype=pl.Int32).alias("year"),
    )
    return RawData(
        config.name, interactions, items, _NO_USERS, place, items_place, tuple(source.files), ordered=True
    )


def unescaped(text: pl.Expr) -> pl.Expr:
    """Text with HTML entities resolved, twice where they were escaped twice (`&amp;amp;`)."""
    return text.map_elements(lambda value: html.unescape(html.unescape(value)), return_dtype=pl.String)


def _require(frame: pl.DataFrame, columns: tuple[str, ...], place: str) -> None:
    for column in columns:
        if column not in frame.columns:
            found = ", ".join(name for name in frame.columns if name != "line")
            raise DataError(f"{place} line 1: no column '{column}' (found: {found}); is it another file?")
