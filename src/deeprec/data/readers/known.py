"""Public data sets that are tables with names of their own: each a mapping on the one reader core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from deeprec.data.cells import categories
from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import Loaded, load_interactions, load_items, load_users, text_options
from deeprec.data.parsing.dialect import Quoting
from deeprec.data.parsing.table import DataFile, TextOptions
from deeprec.data.plans import ItemPlan, first_of_each
from deeprec.data.raw import NO_USERS, RawData
from deeprec.data.readers.amazon import unescaped, unescaped_lists
from deeprec.errors import DataError
from deeprec.settings import DataConfig

Names = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class KnownSource:
    """Where the tables of a data set are and what their columns are called.

    Files are named by what their names begin with. `separators`: what may cut categories.
    `quoting`, `encodings`: where they are no matter of finding out. `unrated`: a rating
    that says there is none. `gaps`: the set is known to have interactions with items that
    it does not list; they are left out and counted.
    """

    interactions: Sequence[str]
    items: Sequence[str]
    columns: Names
    item_columns: Names
    users: Sequence[str] = ()
    user_columns: Names = field(default_factory=dict)
    separators: Sequence[str] = ("|",)
    quoting: Quoting | None = None
    encodings: tuple[str, ...] = ()
    unrated: float | None = None
    escaped: bool = False
    gaps: bool = False
    title_first: bool = False


_MOVIES = KnownSource(
    interactions=("ratings.csv",),
    items=("movies.csv",),
    columns={
        "user_id": ("userId",),
        "item_id": ("movieId",),
        "timestamp": ("timestamp",),
        "rating": ("rating",),
    },
    item_columns={"item_id": ("movieId",), "title": ("title",), "categories": ("genres",)},
    title_first=True,
)
KNOWN: dict[str, KnownSource] = {
    **dict.fromkeys(("ml-latest", "ml-latest-small", "ml-20m", "ml-25m", "ml-32m"), _MOVIES),
    "steam": KnownSource(
        interactions=("steam_reviews", "steam_new"),
        items=("steam_games",),
        columns={"user_id": ("username", "user_id"), "item_id": ("product_id",), "timestamp": ("date",)},
        item_columns={
            "item_id": ("id",),
            "title": ("app_name", "title"),
            "categories": ("genres", "tags"),
            "year": ("release_date",),
        },
        gaps=True,
    ),
    "yelp": KnownSource(
        interactions=("yelp_academic_dataset_review", "yelp_review", "review."),
        items=("yelp_academic_dataset_business", "yelp_business", "business."),
        columns={
            "user_id": ("user_id",),
            "item_id": ("business_id",),
            "timestamp": ("date",),
            "rating": ("stars",),
        },
        item_columns={"item_id": ("business_id",), "title": ("name",), "categories": ("categories",)},
        separators=(", ", ";"),
    ),
    "bookcrossing": KnownSource(
        interactions=("BX-Book-Ratings", "Book-Ratings", "Ratings."),
        items=("BX-Books", "BX_Books", "Books."),
        users=("BX-Users", "Users."),
        columns={"user_id": ("User-ID",), "item_id": ("ISBN",), "rating": ("Book-Rating", "Rating")},
        item_columns={
            "item_id": ("ISBN",),
            "title": ("Book-Title", "Title"),
            "year": ("Year-Of-Publication", "Year"),
        },
        user_columns={"user_id": ("User-ID",)},
        encodings=("utf-8", "latin-1"),
        unrated=0,
        escaped=True,
        gaps=True,
    ),
}


def read_known(path: Path, config: DataConfig) -> RawData:
    """A folder or archive with the tables of `config.name`; see `KNOWN`."""
    known, source = KNOWN[config.name], Source(path)
    options = _options(known, config)
    interactions = load_interactions(
        find_table(source, known.interactions),
        options,
        KnownColumns(known.columns, config.columns),
        config.time_format,
    )
    items = load_items(
        find_table(source, known.items),
        options,
        KnownColumns(known.item_columns, config.item_columns),
        ItemPlan({}, known.separators, unescaped_lists if known.escaped else categories, known.title_first),
    )
    listed = unescaped(items.rows) if known.escaped else items.rows
    return raw_of(
        known, config.name, source, interactions, listed, items, _users(known, config, source, options)
    )


def raw_of(
    known: KnownSource,
    name: str,
    source: Source,
    interactions: Loaded,
    listed: pl.DataFrame,
    items: Loaded,
    users: pl.DataFrame,
) -> RawData:
    """The parts as `RawData`; what the set is known to lack is left out and counted."""
    rows, left_out = interactions.rows, {}
    if known.gaps:
        listed = listed.filter(pl.col("item_id").is_not_null())
        listed = first_of_each(listed)
        kept = rows.join(
            listed.select(pl.col("item_id").cast(pl.Categorical)),
            on="item_id",
            how="semi",
            maintain_order="left",
        )
        left_out = {"items that the set does not list": rows.height - kept.height}
        rows = kept if kept.height else rows  # nothing in common is no gap, and is said
        left_out = left_out if kept.height else {}
    if known.unrated is not None:
        rating = pl.col("rating")
        rows = rows.with_columns(pl.when(rating != known.unrated).then(rating).alias("rating"))
    return RawData(
        name=name,
        interactions=rows,
        items=listed,
        users=users,
        interactions_place=interactions.place,
        items_place=items.place,
        files=source.files,
        left_out=left_out,
        notes=(*interactions.notes, *items.notes),
    )


def find_table(source: Source, prefixes: Sequence[str]) -> list[DataFile]:
    """Files of the table whose name begins with one of `prefixes`; raises DataError unless it is one."""
    names = source.names("")
    found = next((hits for prefix in prefixes if (hits := [n for n in names if n.startswith(prefix)])), [])
    if not found:
        shown = ", ".join(names[:8]) or "nothing"
        wanted = " or ".join(f"'{prefix}...'" for prefix in prefixes)
        raise DataError(f"{source.path}: has no file {wanted} (it has: {shown}); is it another data set?")
    if len(found) > 1:
        raise DataError(
            f"{source.path}: several files begin with '{prefixes[0]}' ({', '.join(found)}); keep one"
        )
    return source.table(found[0])


def _options(known: KnownSource, config: DataConfig) -> TextOptions:
    said = text_options(config)
    return TextOptions(said.delimiter, said.quoting or known.quoting, said.encodings or known.encodings)


def _users(known: KnownSource, config: DataConfig, source: Source, options: TextOptions) -> pl.DataFrame:
    """Attributes of users, where the set has them: names without signs, no value where it says NULL."""
    if not any(name.startswith(tuple(known.users)) for name in source.names("")):
        return NO_USERS
    columns = KnownColumns(known.user_columns, config.user_columns)
    users = load_users(find_table(source, known.users), options, columns).rows
    users = users.rename({name: name.casefold().strip("#") for name in users.columns})
    return users.with_columns(pl.exclude("user_id").replace({"NULL": None, "": None}))
