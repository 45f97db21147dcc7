"""The raw Amazon review dumps of 2014, 2018 and 2023: reviews and metadata, an object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import load_interactions, load_items, text_options
from deeprec.data.plans import ItemPlan, first_of_each
from deeprec.data.raw import NO_USERS, RawData
from deeprec.data.readers.amazon import unescaped, unescaped_lists
from deeprec.errors import DataError
from deeprec.settings import DataConfig

_SUFFIXES = (".json", ".jsonl", ".csv")
# Our column -> what the editions call it; 2023 joins the variants of a product under `parent_asin`.
_REVIEWS = {
    "user_id": ("user_id", "reviewerID"),
    "item_id": ("parent_asin", "asin"),
    "timestamp": ("timestamp", "unixReviewTime"),
    "rating": ("rating", "overall"),
}
_META = {"item_id": ("parent_asin", "asin"), "title": ("title",), "categories": ("categories", "category")}


def read_amazon_reviews(path: Path, config: DataConfig) -> RawData:
    """A folder with one review file and one metadata file `meta_*` (.json, .jsonl, packed or not).

    Metadata is kept for reviewed products only; a product listed twice keeps its first
    entry. Of nested categories (2014) the first path is kept.
    """
    source, options = Source(path), text_options(config)
    reviews, meta = _find(source)
    interactions = load_interactions(
        source.table(reviews), options, KnownColumns(_REVIEWS, config.columns), config.time_format
    )
    reviewed = interactions.rows["item_id"].unique()
    plan = ItemPlan({}, lists=_first_path, only=reviewed, at_once=True)
    items = load_items(source.table(meta), options, KnownColumns(_META, config.item_columns), plan)
    listed = first_of_each(items.rows)
    return RawData(
        name=f"amazon-reviews:{reviews.split('.')[0]}",
        interactions=interactions.rows,
        items=unescaped(listed),
        users=NO_USERS,
        interactions_place=interactions.place,
        items_place=items.place,
        files=source.files,
        notes=(*interactions.notes, *items.notes),
    )


def _find(source: Source) -> tuple[str, str]:
    """Names of the review file and of the metadata file."""
    names = source.names(*_SUFFIXES)
    meta = [name for name in names if name.startswith("meta_")]
    reviews = [name for name in names if name not in meta]
    for found, what in ((reviews, "review file"), (meta, "metadata file meta_*")):
        if len(found) != 1:
            shown = ", ".join(found) or "none"
            raise DataError(
                f"{source.path}: expected one {what} ending in {' or '.join(_SUFFIXES)} (packed or not), found {shown}"
            )
    return reviews[0], meta[0]


def _first_path(values: pl.Series, separators: Sequence[str], place: str) -> pl.Series:
    """Categories of a product; of nested ones (2014) the first path."""
    if values.dtype != pl.String:
        return unescaped_lists(values, separators, place)
    nested = values.str.starts_with("[[").fill_null(False)
    if nested.any():
        values = values.map_elements(_first, return_dtype=pl.String)
    return unescaped_lists(values, separators, place)


def _first(cell: str) -> str:
    if not cell.startswith("[["):
        return cell
    return json.dumps(json.loads(cell)[0], ensure_ascii=False)
