"""Goodreads (UCSD Book Graph): interactions or reviews, books, and genres, an object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import load_interactions, load_items, load_rows, text_options
from deeprec.data.plans import ItemPlan
from deeprec.data.raw import NO_USERS, RawData
from deeprec.data.readers.known import KnownSource, find_table, raw_of
from deeprec.settings import DataConfig

_BOOKS = KnownSource(
    interactions=("goodreads_interactions", "goodreads_reviews"),
    items=("goodreads_books",),
    columns={
        "user_id": ("user_id",),
        "item_id": ("book_id",),
        "timestamp": ("date_added", "date_updated"),
        "rating": ("rating",),
    },
    item_columns={"item_id": ("book_id",), "title": ("title",), "year": ("publication_year",)},
    unrated=0,
)
_GENRES = "goodreads_book_genres"


def read_goodreads(path: Path, config: DataConfig) -> RawData:
    """`goodreads_interactions*` (or `goodreads_reviews*`), `goodreads_books*`, and perhaps `goodreads_book_genres*`.

    A rating of 0 is none. Genres such as `history, biography` are two; without their file
    books have no categories: shelves (`to-read`) are none.
    """
    source, options = Source(path), text_options(config)
    interactions = load_interactions(
        find_table(source, _BOOKS.interactions),
        options,
        KnownColumns(_BOOKS.columns, config.columns),
        config.time_format,
    )
    used = interactions.rows["item_id"].unique()
    columns = KnownColumns(_BOOKS.item_columns, config.item_columns)
    items = load_items(find_table(source, _BOOKS.items), options, columns, ItemPlan({}, only=used))
    listed = items.rows
    if any(name.startswith(_GENRES) for name in source.names("")):
        genres = load_rows(find_table(source, (_GENRES,)), options)
        lists = genres.select(
            pl.col("book_id").alias("item_id"), _genre_lists(genres["genres"]).alias("categories")
        )
        listed = listed.drop("categories").join(lists, on="item_id", how="left", maintain_order="left")
        listed = listed.select("line", "item_id", "title", pl.col("categories").fill_null([]), "year")
    return raw_of(_BOOKS, config.name, source, interactions, listed, items, NO_USERS)


def _genre_lists(values: pl.Series) -> pl.Series:
    """`{"history, biography": 3}` as two genres."""
    names: Sequence[list[str]] = [
        [] if cell is None else [name.strip() for group in json.loads(cell) for name in group.split(",")]
        for cell in values.to_list()
    ]
    return pl.Series(names, dtype=pl.List(pl.String))
