"""From a named source to a Dataset: read, check, filter, index, split by time."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.amazon import read_amazon_pair
from deeprec.data.amazon_reviews import read_amazon_reviews
from deeprec.data.catalog import LONGEST_CATEGORY, Catalog, build_labels, clean_text
from deeprec.data.dataset import Dataset, Protocol, Provenance
from deeprec.data.movielens import read_ml_1m, read_ml_100k
from deeprec.data.pseudonyms import pseudonymise
from deeprec.data.raw import RawData, check_raw, unknown_item_rows
from deeprec.data.recbole import read_recbole
from deeprec.data.sources import DOWNLOADS, download
from deeprec.data.split import check_split, split_at, split_by_time
from deeprec.data.synthetic import simulate
from deeprec.data.table import read_table
from deeprec.errors import DataError
from deeprec.types import Item

_MOST_CATEGORIES = 50  # of an item; shops name up to a dozen

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
    rows, dropped = _usable(raw, config)
    cuts = _cuts(rows, config, raw.interactions_place) if config.split == "time" else ()
    kept, left_out = _filter(rows, raw, config, cuts)
    catalog = _catalog(raw, kept)
    indices = pl.DataFrame(
        {"item_id": [item.item_id for item in catalog.items], "item_index": range(1, catalog.n_items + 1)},
        schema={"item_id": pl.String, "item_index": pl.Int32},
    )
    rows = kept.join(indices, on="item_id", how="left", maintain_order="left")
    rows = rows.select("user_id", "item_index", "timestamp", "rating")
    users = raw.users.join(rows.select("user_id").unique(), on="user_id", how="semi", maintain_order="left")
    targets = (config.rl_targets, config.script_targets, config.rl_users)
    split = split_at(rows, cuts, *targets) if cuts else split_by_time(rows, *targets)
    later = left_out.pop("later_dropped") + rows.height - split.height
    dataset = Dataset(
        name=raw.name,
        catalog=catalog,
        interactions=split,
        users=users,
        allow_repeats=config.allow_repeats,
        provenance=Provenance(raw.files, **dropped, **left_out, later_dropped=later),
        protocol=Protocol(cuts),
    )
    check_split(dataset)
    return pseudonymise(dataset) if config.pseudonyms else dataset


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


def _usable(raw: RawData, config: DataConfig) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of known items, grouped by user and oldest first, and how many were left out, by reason."""
    rows, unknown = _known_items(raw, config)
    rows = _ordered(rows)
    before = rows.height
    if not config.allow_repeats:
        rows = rows.unique(["user_id", "item_id"], keep="first", maintain_order=True)
    return rows, {"unknown_items_dropped": unknown, "repeats_dropped": before - rows.height}


def _cuts(rows: pl.DataFrame, config: DataConfig, place: str) -> tuple[float, ...]:
    """When RL, validation and test begin (Unix seconds); raises DataError where the times don't allow it."""
    times = rows["timestamp"]
    if times.null_count():
        raise DataError(
            f"{place}: {times.null_count()} interactions have no timestamp; data.split = 'time' needs one for each"
        )
    if config.time_cuts is None:
        shares = (config.rl_share, config.validation_share, config.test_share)
        if not 0 < sum(shares) < 1 or not all(shares):
            raise DataError(
                f"data.rl_share + validation_share + test_share = {sum(shares):g}: each must be above 0, "
                "and all together below 1"
            )
        # Equal times fall on the later side: a cut never runs through them.
        levels = (1 - sum(shares), 1 - sum(shares[1:]), 1 - shares[2])
        ordered = times.sort()
        cuts = tuple(float(ordered[int(level * len(ordered))]) for level in levels)
    else:
        days = (datetime(day.year, day.month, day.day, tzinfo=UTC) for day in config.time_cuts)
        cuts = tuple(day.timestamp() for day in days)
    if not _number(times.min()) < cuts[0] < cuts[1] < cuts[2] <= _number(times.max()):
        shown = ", ".join(datetime.fromtimestamp(cut, UTC).strftime("%Y-%m-%d %H:%M:%S") for cut in cuts)
        raise DataError(
            f"{place}: the cuts {shown} do not divide its times ({_number(times.min()):.0f} to "
            f"{_number(times.max()):.0f} in Unix seconds) into four; change data.time_cuts or the shares"
        )
    return cuts


def _filter(
    rows: pl.DataFrame, raw: RawData, config: DataConfig, cuts: tuple[float, ...]
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Rows of users and items with enough interactions, and what was left out.

    With `cuts` only what is older than the last one counts, since nobody knows then what will be
    popular: later rows of users or items that are unknown by then are dropped.
    """
    before = rows.filter(pl.col("timestamp") < cuts[-1]) if cuts else rows
    later = rows.filter(pl.col("timestamp") >= cuts[-1]) if cuts else rows.clear()
    kept = _core(before, config.min_user_interactions, config.min_item_interactions)
    if not kept.height:
        raise DataError(
            f"{raw.interactions_place}: no interaction is left after the filters; lower data.min_user_interactions "
            f"({config.min_user_interactions}) or data.min_item_interactions ({config.min_item_interactions})"
        )
    known = later.join(kept.select("user_id").unique(), on="user_id", how="semi", maintain_order="left")
    known = known.join(kept.select("item_id").unique(), on="item_id", how="semi", maintain_order="left")
    return _by_user(pl.concat([kept, known])), {
        "users_dropped": rows["user_id"].n_unique() - kept["user_id"].n_unique(),
        "items_dropped": raw.items.height - kept["item_id"].n_unique(),
        "later_dropped": later.height - known.height,
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


def _by_user(rows: pl.DataFrame) -> pl.DataFrame:
    """Users in order of first appearance, each row after those that came before it."""
    first = pl.col("_row").min().over("user_id").alias("_first")
    return rows.with_row_index("_row").with_columns(first).sort("_first", "_row").drop("_first", "_row")


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
    cleaned = (clean_text(name, LONGEST_CATEGORY) for name in names or [] if name is not None)
    return tuple(dict.fromkeys(name for name in cleaned if name))[:_MOST_CATEGORIES]


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # no row lacks its time here
    return float(value)
