"""MovieLens 100K and 1M, as the zip archive or the unpacked folder; for later editions see `known`.

The originals are latin-1. A copy that was saved as UTF-8 is recognised: accented latin-1
text is practically never valid UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from deeprec.data.cells import NO_CATEGORY
from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import Loaded, load_interactions, load_items, load_rows, load_users
from deeprec.data.parsing.table import TextOptions
from deeprec.data.plans import ItemPlan
from deeprec.data.raw import RawData, place_at
from deeprec.errors import DataError
from deeprec.settings import DataConfig

_ENCODINGS = ("utf-8", "latin-1")
_INTERACTIONS = ("user_id", "item_id", "rating", "timestamp")
_ITEM_100K = ("item_id", "title", "year", "video_date", "link")
_USER_100K = ("user_id", "age", "sex", "occupation", "postcode")
_USER_1M = ("user_id", "sex", "age", "occupation", "postcode")
_FLAG = "genre "  # a genre may be called like another column
_SHOWN = ("user_id", "age", "sex", "occupation")
_AGES_1M = {
    "1": "under 18",
    "18": "18-24",
    "25": "25-34",
    "35": "35-44",
    "45": "45-49",
    "50": "50-55",
    "56": "56+",
}
_OCCUPATIONS_1M = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip


def read_ml_100k(path: Path, config: DataConfig) -> RawData:
    """`u.data`, `u.item`, `u.genre` and `u.user`; rows of `u.data` are in random order."""
    source = Source(path)
    interactions = _interactions(source, "u.data", "\t")
    genres = _genres(source)
    flags = [_FLAG + genre for genre in genres]
    items = load_items(
        source.table("u.item"),
        _options("|", (*_ITEM_100K, *flags)),
        _same(("item_id", "title", "year")),
        _FlaggedItems({}, title_first=True, flags=flags),
    )
    return _raw("ml-100k", source, interactions, items, _users(source, "u.user", "|", _USER_100K))


def read_ml_1m(path: Path, config: DataConfig) -> RawData:
    """`ratings.dat`, `movies.dat` and `users.dat`, separated by `::`."""
    source = Source(path)
    interactions = _interactions(source, "ratings.dat", "::")
    header = ("item_id", "title", "categories")
    items = load_items(
        source.table("movies.dat"), _options("::", header), _same(header), ItemPlan({}, title_first=True)
    )
    users = _users(source, "users.dat", "::", _USER_1M)
    occupations = {str(code): name for code, name in enumerate(_OCCUPATIONS_1M)}
    named = users.with_columns(pl.col("age").replace(_AGES_1M), pl.col("occupation").replace(occupations))
    return _raw("ml-1m", source, interactions, items, named)


@dataclass(frozen=True)
class _FlaggedItems(ItemPlan):
    """Items whose categories are columns that hold 0 or 1, called as in `flags`."""

    flags: Sequence[str] = ()

    @property
    def columns(self) -> Sequence[str]:
        """The file's columns that are needed."""
        return (*ItemPlan.columns.fget(self), *self.flags)  # type: ignore[attr-defined]

    def take(self, rows: pl.DataFrame, place: str) -> pl.DataFrame:
        """See `ItemPlan.take`; raises DataError for a flag that is neither 0 nor 1."""
        for flag in self.flags:
            wrong = rows.filter(~pl.col(flag).is_in(["0", "1"]).fill_null(False)).head(1)
            if wrong.height:
                raise DataError(
                    f"{place_at(place, wrong['line'][0])}: genre flag '{flag.removeprefix(_FLAG)}' is "
                    f"{wrong[flag][0]!r}, expected 0 or 1"
                )
        genres = {flag: flag.removeprefix(_FLAG) for flag in self.flags}
        names = [
            pl.when(pl.col(flag) == "1").then(pl.lit(genre))
            for flag, genre in genres.items()
            if genre.casefold() not in NO_CATEGORY
        ]
        lists = rows.select(pl.concat_list(names).list.drop_nulls().alias("categories"))
        return ItemPlan.take(self, rows, place).with_columns(lists)


def _raw(name: str, source: Source, interactions: Loaded, items: Loaded, users: pl.DataFrame) -> RawData:
    return RawData(
        name=name,
        interactions=interactions.rows,
        items=items.rows,
        users=users,
        interactions_place=interactions.place,
        items_place=items.place,
        files=source.files,
        notes=(*interactions.notes, *items.notes),
    )


def _options(delimiter: str, header: Sequence[str]) -> TextOptions:
    return TextOptions(delimiter, "literal", _ENCODINGS, tuple(header))


def _same(names: Sequence[str]) -> KnownColumns:
    """Columns that are called as ours: the files have no header, so we name them."""
    return KnownColumns({name: (name,) for name in names})


def _interactions(source: Source, file: str, delimiter: str) -> Loaded:
    return load_interactions(source.table(file), _options(delimiter, _INTERACTIONS), _same(_INTERACTIONS))


def _users(source: Source, file: str, delimiter: str, header: Sequence[str]) -> pl.DataFrame:
    loaded = load_users(source.table(file), _options(delimiter, header), _same(("user_id",)))
    return loaded.rows.select(_SHOWN)


def _genres(source: Source) -> list[str]:
    rows = load_rows(source.table("u.genre"), _options("|", ("genre", "number")))
    return [str(genre) for genre in rows["genre"].to_list()]
