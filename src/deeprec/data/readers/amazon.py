"""Prepared Amazon data: a pair of tab-separated files."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from deeprec.data.cells import categories, changed
from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import load_interactions, load_items
from deeprec.data.parsing.table import TextOptions
from deeprec.data.plans import ItemPlan
from deeprec.data.raw import NO_USERS, RawData, title_years
from deeprec.settings import DataConfig

_TEXT = TextOptions("\t", "literal")
_INTERACTIONS = {"user_id": ("user",), "item_id": ("item",), "timestamp": ("timestamp",)}
_ITEMS = {"item_id": ("item",), "title": ("title",), "categories": ("categories",)}


def read_amazon_pair(path: Path, config: DataConfig) -> RawData:
    """A folder with `interactions.tsv` (user, item, timestamp) and `items.tsv` (item, title, categories), or packed.

    The format declares each user's rows oldest first, so a step back in time is an error.
    HTML entities in titles and categories are resolved; `|` separates categories.
    """
    source = Source(path)
    interactions = load_interactions(source.table("interactions.tsv"), _TEXT, KnownColumns(_INTERACTIONS))
    listed = load_items(
        source.table("items.tsv"), _TEXT, KnownColumns(_ITEMS), ItemPlan({}, lists=unescaped_lists)
    )
    return RawData(
        name=config.name,
        interactions=interactions.rows,
        items=unescaped(listed.rows),
        users=NO_USERS,
        interactions_place=interactions.place,
        items_place=listed.place,
        files=source.files,
        ordered=True,
        notes=(*interactions.notes, *listed.notes),
    )


def unescaped(items: pl.DataFrame) -> pl.DataFrame:
    """Items with HTML entities in titles resolved, twice where escaped twice (`&amp;amp;`)."""
    titles = items["title"]
    resolved = changed(titles, titles.str.contains("&", literal=True), unescape)
    years = pl.coalesce("year", title_years(resolved))
    return items.with_columns(resolved.alias("title"), years.alias("year"))


def unescaped_lists(values: pl.Series, separators: Sequence[str], place: str) -> pl.Series:
    """Lists of categories with HTML entities resolved, for an `ItemPlan`."""
    return categories(values, separators, place, unescape)


def unescape(text: str) -> str:
    """The text with HTML entities resolved, also such as were escaped twice."""
    return html.unescape(html.unescape(text))
