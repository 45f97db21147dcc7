"""Last.fm 1K: what a thousand people listened to, by artist, or by track."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from deeprec.data.columns import KnownColumns
from deeprec.data.files import Source
from deeprec.data.load import load_planned, load_users
from deeprec.data.parsing.table import TextOptions
from deeprec.data.plans import Derived, InteractionPlan, ItemPlan
from deeprec.data.raw import NO_USERS, RawData
from deeprec.data.readers.known import find_table
from deeprec.data.times import TimeColumn
from deeprec.settings import DataConfig

_HEADER = ("user_id", "timestamp", "artist_id", "artist", "track_id", "track")
_PLAYS = ("userid-timestamp-artid-artname-traid-traname",)
_PROFILES = ("userid-profile",)


def read_lastfm_1k(path: Path, config: DataConfig) -> RawData:
    """`userid-timestamp-artid-artname-traid-traname.tsv`, and perhaps `userid-profile.tsv`.

    Items are artists; with `data.columns = {item_id = "track_id"}` tracks. Where an id is
    missing the name is the id.
    """
    source = Source(path)
    plan = InteractionPlan(
        names={name: name for name in ("user_id", "item_id", "timestamp")},
        times=TimeColumn(form=config.time_format),
        items=ItemPlan({name: name for name in ("item_id", "title")}),
        derived=Derived(_HEADER, _tracks if config.columns.get("item_id") == "track_id" else _artists),
    )
    files = find_table(source, _PLAYS)
    plays = load_planned(files, TextOptions("\t", "literal", header=_HEADER), lambda head: plan)
    users = NO_USERS
    if any(name.startswith(_PROFILES) for name in source.names("")):
        columns = KnownColumns({"user_id": ("#id", "id")})
        users = load_users(find_table(source, _PROFILES), TextOptions("\t", "literal"), columns).rows
        users = users.drop("registered", strict=False)
    assert plays.items is not None
    return RawData(
        name=config.name,
        interactions=plays.rows,
        items=plays.items,
        users=users,
        interactions_place=plays.place,
        items_place=plays.place,
        files=source.files,
        notes=plays.notes,
    )


def _artists(plays: pl.DataFrame) -> pl.DataFrame:
    return _named(plays, pl.col("artist_id"), pl.col("artist"))


def _tracks(plays: pl.DataFrame) -> pl.DataFrame:
    return _named(plays, pl.col("track_id"), pl.format("{}: {}", "artist", "track"))


def _named(plays: pl.DataFrame, known: pl.Expr, title: pl.Expr) -> pl.DataFrame:
    return plays.with_columns(title.alias("title"), pl.coalesce(known, title).alias("item_id"))
