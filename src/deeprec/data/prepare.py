"""From a named source to a Dataset: read, check, filter, index, split by time."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import polars as pl

from deeprec.config import DataConfig
from deeprec.data.catalog import ITEM_COLUMNS, LONGEST_CATEGORY, Catalog, clean_column, label_column
from deeprec.data.cleaning import (
    by_user,
    core,
    item_indices,
    known_columns,
    usable_rows,
    used_items,
    user_numbers,
)
from deeprec.data.dataset import Dataset, Protocol, Provenance
from deeprec.data.pseudonyms import pseudonymise
from deeprec.data.raw import RawData, check_raw
from deeprec.data.readers.amazon import read_amazon_pair
from deeprec.data.readers.amazon_reviews import read_amazon_reviews
from deeprec.data.readers.goodreads import read_goodreads
from deeprec.data.readers.known import KNOWN, read_known
from deeprec.data.readers.lastfm import read_lastfm_1k
from deeprec.data.readers.mind import read_mind
from deeprec.data.readers.movielens import read_ml_1m, read_ml_100k
from deeprec.data.readers.own import read_own
from deeprec.data.readers.recbole import read_recbole
from deeprec.data.readers.table import read_own_tables
from deeprec.data.sources import DOWNLOADS, PAGES, download
from deeprec.data.split import check_split, split_at, split_by_time
from deeprec.data.synthetic import simulate
from deeprec.errors import DataError
from deeprec.references import is_reference

_MOST_CATEGORIES = 50  # of an item; shops name up to a dozen

_YOURS = "or a reader of yours as package.module:function"
Reader = Callable[[Path, DataConfig], RawData]

READERS: dict[str, Reader] = {
    "ml-100k": read_ml_100k,
    "ml-1m": read_ml_1m,
    "amazon-games-2018": read_amazon_pair,
    "amazon-beauty-2014": read_amazon_pair,
    "amazon-reviews": read_amazon_reviews,
    "recbole": read_recbole,
    "goodreads": read_goodreads,
    "lastfm-1k": read_lastfm_1k,
    "mind": read_mind,
    "table": read_own_tables,
    **dict.fromkeys(KNOWN, read_known),
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
    raw, kept, cuts, counts = _read(config, seed, cache)
    catalog = Catalog(_item_table(raw.items, kept))
    raw = replace(raw, items=raw.items.clear())
    users, kept = _numbered(kept, catalog)
    rows = kept.height
    split = _split(users, kept, config, cuts)
    later = counts.pop("later_dropped") + rows - split.height
    dataset = Dataset(
        name=raw.name,
        catalog=catalog,
        interactions=split,
        users=raw.users.filter(raw.users["user_id"].is_in(users.implode()))
        if raw.users.height
        else raw.users,
        allow_repeats=config.allow_repeats,
        provenance=Provenance(
            raw.files,
            reader_dropped=raw.left_out,
            later_dropped=later,
            notes=raw.notes,
            **counts,
        ),
        protocol=Protocol(cuts),
    )
    check_split(dataset)
    return pseudonymise(dataset) if config.pseudonyms else dataset


def _read(
    config: DataConfig, seed: int, cache: Path | None
) -> tuple[RawData, pl.DataFrame, tuple[float, ...], dict[str, int]]:
    """The source without its interactions, those of them that are used, when parts begin, and what was left out.

    A large set is held once: what is no longer needed is let go of, and with the last categories all their texts.
    """
    raw = read_raw(config, seed, cache)
    check_raw(raw if config.order == "time" else replace(raw, ordered=True))
    columns, read, rows_read = known_columns(raw, config), raw.interactions.height, raw.rows_read
    raw = replace(raw, interactions=pl.DataFrame())
    usable = usable_rows(columns, read, config)
    cuts = _cuts(usable.rows, config, str(raw.interactions_place)) if config.split == "time" else ()
    kept, dropped = _filter(usable.rows, raw, config, cuts)
    counts = {
        "rows_read": rows_read,
        "unknown_items_dropped": usable.unknown_items_dropped,
        "duplicates_dropped": usable.duplicates_dropped,
        "repeats_dropped": usable.repeats_dropped,
    }
    return raw, kept, cuts, {**counts, **dropped}


def read_raw(config: DataConfig, seed: int, cache: Path | None = None) -> RawData:
    """The source as read, before any check or filter."""
    if config.name == "synthetic":
        return simulate(config.synthetic, seed).raw
    if config.name not in READERS and not is_reference(config.name):
        near = difflib.get_close_matches(config.name, data_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"name your own files with `table`, {_YOURS}"
        raise DataError(f"unknown data set '{config.name}'; known: {', '.join(data_names())}; {hint}")
    if config.source is not None:
        path = Path(config.source).expanduser()
    elif config.name in DOWNLOADS:
        path = download(config.name, cache)
    else:
        where = f" ({PAGES[config.name]})" if config.name in PAGES else ""
        raise DataError(
            f"data set '{config.name}' can't be downloaded{where}; name its files with --source PATH"
        )
    reader = READERS.get(config.name) or partial(read_own, config.name)
    return reader(path, config)


def _cuts(rows: pl.DataFrame, config: DataConfig, place: str) -> tuple[float, ...]:
    """When RL, validation and test begin (Unix seconds); raises DataError where the times don't allow it."""
    times = rows["timestamp"]
    if times.null_count():
        raise DataError(
            f"{place}: {times.null_count()} interactions have no timestamp; data.split = 'time' needs one for each"
        )
    if config.time_cuts is None:
        shares = config.time_shares
        if not 0 < sum(shares) < 1 or not all(shares):
            raise DataError(
                f"data.time_shares = {list(shares)}: each must be above 0, and all together below 1"
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
    kept = core(before, config.min_user_interactions, config.min_item_interactions)
    if not kept.height:
        longest = max(before.group_by("user_id").len()["len"].to_list(), default=0)
        raise DataError(
            f"{raw.interactions_place}: no interaction is left after the filters (the longest history has {longest}); "
            f"lower data.min_user_interactions ({config.min_user_interactions}) or data.min_item_interactions "
            f"({config.min_item_interactions})"
        )
    known = later.join(kept.select("user_id").unique(), on="user_id", how="semi", maintain_order="left")
    known = known.join(kept.select("item_id").unique(), on="item_id", how="semi", maintain_order="left")
    return by_user(pl.concat([kept, known])) if known.height else kept, {
        "users_dropped": rows["user_id"].n_unique() - kept["user_id"].n_unique(),
        "items_dropped": raw.items.height - kept["item_id"].n_unique(),
        "filtered_dropped": before.height - kept.height,
        "later_dropped": later.height - known.height,
    }


def _numbered(rows: pl.DataFrame, catalog: Catalog) -> tuple[pl.Series, pl.DataFrame]:
    """Ids of the users in order, and the rows with numbers in place of ids."""
    users, numbers = user_numbers(rows)
    indices = item_indices(rows, catalog.table["item_id"])
    return users, rows.select(numbers.alias("user"), indices, "timestamp", "rating")


def _split(users: pl.Series, rows: pl.DataFrame, config: DataConfig, cuts: tuple[float, ...]) -> pl.DataFrame:
    """Rows with the ids of their users, whose texts are held once, and the part that each belongs to."""
    rows = rows.select(users.gather(rows["user"]).alias("user_id"), "item_index", "timestamp", "rating")
    targets = (config.rl_targets, config.script_targets, config.rl_users)
    return split_at(rows, cuts, *targets) if cuts else split_by_time(rows, *targets)


def _item_table(listed: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """Items in use, in the source's order, with unique labels."""
    rows = listed.filter(used_items(listed["item_id"], kept))
    titles = rows["title"].fill_null("")
    table = rows.with_columns(
        titles,
        label_column(titles, rows["item_id"], rows["year"]).alias("label"),
        _category_lists(rows["categories"].cast(pl.List(pl.String))),
        pl.int_range(1, rows.height + 1, dtype=pl.Int32).alias("item_index"),
    )
    return table.select(list(ITEM_COLUMNS)).cast(ITEM_COLUMNS)  # type: ignore[arg-type]


def _category_lists(lists: pl.Series) -> pl.Series:
    """Names in each list cleaned, each once, the first ones; names are few, whatever the number of items."""
    names = lists.explode().drop_nulls().unique()
    cleaned = clean_column(names, LONGEST_CATEGORY)
    cleaned = cleaned.set(cleaned == "", None)
    other = ~cleaned.eq_missing(names)
    if other.any():
        lists = lists.list.eval(pl.element().replace(names.filter(other), cleaned.filter(other)))
    return lists.fill_null([]).list.drop_nulls().list.unique(maintain_order=True).list.head(_MOST_CATEGORIES)


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # no row lacks its time here
    return float(value)
