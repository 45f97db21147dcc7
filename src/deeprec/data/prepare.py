"""From a named source to a Dataset: read, check, filter, index, split by time."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.amazon import read_amazon_pair
from deeprec.data.amazon_reviews import read_amazon_reviews
from deeprec.data.catalog import Catalog, build_labels, clean_text
from deeprec.data.dataset import Dataset, Provenance
from deeprec.data.movielens import read_ml_1m, read_ml_100k
from deeprec.data.raw import RawData, check_raw, unknown_item_rows
from deeprec.data.recbole import read_recbole
from deeprec.data.sources import DOWNLOADS, download
from deeprec.data.split import check_split, split_by_time
from deeprec.data.synthetic import simulate
from deeprec.data.table import read_table
from deeprec.errors import DataError
from deeprec.types import Item

Reader = Callable[[Path, DataConfig], RawData]

READERS: dict[str, Reader] = {
    "ml-100k": read_ml_100k,
    "ml-1m": read_ml_1m,
    "amazon-games-2018": read_amazon_pair,
    "amazon-beauty-2014": read_amazon_pair,
    "amazon-reviews": read_amazon_reviews,
    "recbole": read_recbole,
    "table": read_table,
}


def data_names() -> list[str]:
    """Names that `prepare` knows, sorted."""
    return sorted([*READERS, "synthetic"])


def prepare(config: DataConfig, seed: int, cache: Path | None = None) -> Dataset:
    """Read, check, filter and split a data set.

    `seed` matters for `synthetic` only. Without `config.source` a known set is downloaded
    into `cache` (default: the user's cache folder). Raises DataError with file, line,
    value and remedy for input that can't be used, DownloadError when a set can't be had.
    """
    raw = read_raw(config, seed, cache)
    check_raw(raw if config.order == "time" else replace(raw, ordered=True))
    kept, dropped = _filter(raw, config)
    catalog = _catalog(raw, kept)
    indices = pl.DataFrame(
        {"item_id": [item.item_id for item in catalog.items], "item_index": range(1, catalog.n_items + 1)},
        schema={"item_id": pl.String, "item_index": pl.Int32},
    )
    rows = kept.join(indices, on="item_id", how="left", maintain_order="left")
    rows = rows.select("user_id", "item_index", "timestamp", "rating")
    users = raw.users.join(rows.select("user_id").unique(), on="user_id", how="semi", maintain_order="left")
    dataset = Dataset(
        name=raw.name,
        catalog=catalog,
        interactions=split_by_time(rows, config.rl_targets, config.script_targets, config.rl_users),
        users=users,
        allow_repeats=config.allow_repeats,
        provenance=Provenance(raw.files, **dropped),
    )
    check_split(dataset)
    return dataset


def read_raw(config: DataConfig, seed: int, cache: Path | None = None) -> RawData:
    """The source as read, before any check or filter."""
    if config.name == "synthetic":
        return simulate(config.synthetic, seed).raw
    if config.name not in READERS:
        near = difflib.get_close_matches(config.name, data_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "name your own files with `table`"
        raise DataError(f"unknown data set '{config.name}'; known: {', '.join(data_names())}; {hint}")
    if config.source is not None:
        path = Path(config.source).expanduser()
    elif config.name in DOWNLOADS:
        path = download(config.name, cache)
    else:
        raise DataError(f"data set '{config.name}' can't be downloaded; name its files with --source PATH")
    return READERS[config.name](path, config)


def _filter(raw: RawData, config: DataConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows in use, grouped by user and oldest first, and how many were left out, by reason."""
    rows, unknown = _known_items(raw, config)
    rows = _ordered(rows)
    before = rows.height
    if not config.allow_repeats:
        rows = rows.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    repeats = before - rows.height
    users, items = rows["user_id"].n_unique(), raw.items.height
    rows = _core(rows, config.min_user_interactions, config.min_item_interactions)
    if not rows.height:
        raise DataError(
            f"{raw.interactions_place}: no interaction is left after the filters; lower data.min_user_interactions "
            f"({config.min_user_interactions}) or data.min_item_interactions ({config.min_item_interactions})"
        )
    return rows, {
        "unknown_items_dropped": unknown,
        "repeats_dropped": repeats,
        "users_dropped": users - rows["user_id"].n_unique(),
        "items_dropped": items - rows["item_id"].n_unique(),
    }


def _known_items(raw: RawData, config: DataConfig) -> tuple[pl.DataFrame, int]:
    unknown = unknown_item_rows(raw)
    if not unknown.height:
        return raw.interactions, 0
    if config.unknown_items == "refuse":
        raise DataError(
            f"{raw.interactions_place} line {unknown['line'][0]}: item '{unknown['item_id'][0]}' is not in "
            f"{raw.items_place}; add it there, or leave such rows out with data.unknown_items=drop"
        )
    known = raw.interactions.join(
        raw.items.select("item_id"), on="item_id", how="semi", maintain_order="left"
    )
    return known, unknown.height


def _ordered(rows: pl.DataFrame) -> pl.DataFrame:
    """Users in order of first appearance, each oldest first; ties keep the source's order."""
    first = pl.col("_row").min().over("user_id").alias("_first")
    rows = rows.with_row_index("_row").with_columns(first).drop("_row")
    return rows.sort(["_first", "timestamp"], maintain_order=True).drop("_first")


def _core(rows: pl.DataFrame, min_user: int, min_item: int) -> pl.DataFrame:
    """Drop users and items with too few interactions until none is left to drop."""
    while True:
        before = rows.height
        rows = rows.filter(pl.len().over("item_id") >= min_item)
        rows = rows.filter(pl.len().over("user_id") >= min_user)
        if rows.height == before:
            return rows


def _catalog(raw: RawData, kept: pl.DataFrame) -> Catalog:
    """Items in use, in the source's order, with unique labels."""
    rows = raw.items.join(kept.select("item_id").unique(), on="item_id", how="semi", maintain_order="left")
    ids, years = rows["item_id"].to_list(), rows["year"].to_list()
    titles = [title or "" for title in rows["title"].to_list()]
    labels = build_labels(titles, ids, years)
    categories = [_categories(entry) for entry in rows["categories"].to_list()]
    columns = zip(ids, titles, labels, categories, years, strict=True)
    return Catalog(tuple(Item(index, *fields) for index, fields in enumerate(columns, 1)))


def _categories(names: list[str] | None) -> tuple[str, ...]:
    cleaned = (clean_text(name) for name in names or [] if name is not None)
    return tuple(dict.fromkeys(name for name in cleaned if name))
